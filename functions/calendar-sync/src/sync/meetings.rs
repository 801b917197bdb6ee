//! The steps of a sync that note whom the user met, and will meet next.

use catchup::db::calendar_events::EventRow;
use catchup::db::meetings::EVENTS;
use catchup::google::Stop;

use super::Sync;
use crate::people_met::{Dates, MAX_ATTENDEES, people_met};

impl Sync<'_> {
    /// Notes the meetings that the stored events show.
    pub(super) async fn note_meetings(&mut self) -> Result<(), Stop> {
        let (meetings, now) = (&self.job.meetings, self.context.now());
        let own = &self.own_addresses;
        let (mut last, mut next) = (Dates::default(), Dates::default());
        let mut after = String::new();
        loop {
            let events = meetings.events(self.user_id, MAX_ATTENDEES, &after).await?;
            for event in &events {
                let people = people_met(&event.attendees, event.is_in_primary, own);
                if event.end_time <= now {
                    last.keep_last(people, event.start_time);
                } else {
                    next.keep_first(people, event.start_time);
                }
            }
            if events.len() < usize::from(EVENTS) {
                break;
            }
            after = events.into_iter().next_back().map(|event| event.google_event_id).unwrap_or_default();
        }
        let (addresses, at) = next.into_columns();
        meetings.replace_next(self.user_id, self.run, &addresses, &at).await?;
        self.met(last).await
    }

    /// Notes the meetings among events of a calendar that are too old to be stored.
    pub(super) async fn note_past_meetings(
        &mut self,
        calendar_id: &str,
        events: &[EventRow],
    ) -> Result<(), Stop> {
        if events.is_empty() {
            return Ok(());
        }
        let own = &self.own_addresses;
        // The primary calendar is called by the user's address.
        let is_in_primary = own.contains(&calendar_id.to_lowercase());
        let mut last = Dates::default();
        for event in events {
            let people = event.attendees.as_ref().map(|attendees| people_met(attendees, is_in_primary, own));
            last.keep_last(people.unwrap_or_default(), event.start_time);
        }
        self.met(last).await
    }

    async fn met(&mut self, last: Dates) -> Result<(), Stop> {
        let (addresses, at) = last.into_columns();
        if !addresses.is_empty() {
            self.progress.met.extend(self.job.meetings.met(self.user_id, &addresses, &at).await?);
        }
        Ok(())
    }
}
