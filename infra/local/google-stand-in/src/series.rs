//! Changes of recurring events of which Google does not tell everything: what stood under another id goes without a word.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::calendar::CalendarState;
use crate::event::{Event, EventTime, Recurrence};
use crate::state::Unknown;
use crate::world::World;

const MOMENT: &str = "%Y%m%dT%H%M%S";
const DAY: &str = "%Y%m%d";

impl World {
    /// A single event becomes a series of `count` instances, so far apart. Its id is that of the series now, which no list of
    /// single events shows: they show the instances.
    pub fn make_series(
        &self,
        user: Uuid,
        calendar_id: &str,
        event_id: &str,
        count: u32,
        apart: TimeDelta,
    ) -> Result<Vec<Event>, Unknown> {
        self.change_calendar(user, calendar_id, |calendar_state, now| {
            let event = calendar_state.event(event_id).filter(|event| event.live() && event.is_single());
            let single = event.cloned().ok_or(Unknown::Event)?;
            let rule = format!("RRULE:FREQ=DAILY;COUNT={count}");
            calendar_state.put(Event { recurrence: Recurrence::Series { rule }, ..single.clone() }, now);
            Ok((0..count)
                .map(|number| {
                    let time = single.time.shifted(apart * i32::try_from(number).unwrap_or(i32::MAX));
                    calendar_state.put(instance(&single, &single.id, time), now).clone()
                })
                .collect())
        })
    }

    /// A series becomes the single event that it began as.
    pub fn make_single(&self, user: Uuid, calendar_id: &str, series: &str) -> Result<Event, Unknown> {
        self.change_calendar(user, calendar_id, |calendar_state, now| {
            let event = calendar_state.event(series).filter(|event| !event.is_single());
            let event = event.cloned().ok_or(Unknown::Event)?;
            calendar_state.forget(|event| series_of(event) == Some(series));
            Ok(calendar_state.put(Event { recurrence: Recurrence::None, ..event }, now).clone())
        })
    }

    /// "This and following": the instances of a series from then on are those of another series, so much later. Returns its
    /// id.
    pub fn split_series(
        &self,
        user: Uuid,
        calendar_id: &str,
        series: &str,
        from: DateTime<Utc>,
        by: TimeDelta,
    ) -> Result<String, Unknown> {
        self.change_calendar(user, calendar_id, |calendar_state, now| {
            let former = calendar_state.event(series).cloned().ok_or(Unknown::Event)?;
            let is_following = |event: &Event| {
                series_of(event) == Some(series) && original(event).is_some_and(|at| at >= from)
            };
            let following: Vec<Event> =
                calendar_state.live_singles().filter(|event| is_following(event)).cloned().collect();
            calendar_state.forget(is_following);
            let base = series.split_once("_R").map_or(series, |(base, _)| base);
            let format = if former.is_all_day() { DAY } else { MOMENT };
            let id = format!("{base}_R{}", from.format(format));
            calendar_state.put(Event { id: id.clone(), ..former }, now);
            for event in following {
                calendar_state.put(instance(&event, &id, event.time.shifted(by)), now);
            }
            Ok(id)
        })
    }

    fn change_calendar<R>(
        &self,
        user: Uuid,
        calendar_id: &str,
        change: impl FnOnce(&mut CalendarState, DateTime<Utc>) -> Result<R, Unknown>,
    ) -> Result<R, Unknown> {
        let now = self.now();
        self.with(|state| {
            let account = state.account_mut(user)?;
            let calendar_state = account.calendar_state_mut(calendar_id).ok_or(Unknown::Calendar)?;
            let id = calendar_state.calendar.id.clone();
            let result = change(calendar_state, now)?;
            state.announce(user, &id, now);
            Ok(result)
        })
    }
}

fn instance(like: &Event, series: &str, time: EventTime) -> Event {
    let at = match time {
        EventTime::Timed { start, .. } => format!("{}Z", start.format(MOMENT)),
        EventTime::AllDay { start, .. } => start.format(DAY).to_string(),
    };
    let recurrence = Recurrence::Instance { series: series.to_owned(), original: time, exception: false };
    Event { id: format!("{series}_{at}"), time, recurrence, ..like.clone() }
}

fn series_of(event: &Event) -> Option<&str> {
    match &event.recurrence {
        Recurrence::Instance { series, .. } => Some(series),
        Recurrence::None | Recurrence::Series { .. } => None,
    }
}

fn original(event: &Event) -> Option<DateTime<Utc>> {
    match &event.recurrence {
        Recurrence::Instance { original, .. } => Some(original.instants(event.time_zone).0),
        Recurrence::None | Recurrence::Series { .. } => None,
    }
}
