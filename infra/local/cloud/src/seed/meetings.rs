//! Suggestions, availability and a group of close friends that are there before the first sync.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::contacts::{Origin, OwnContact};
use super::hours::Hours;

/// A suggestion from before.
#[derive(Debug)]
pub struct OwnSuggestion {
    /// Its id.
    pub id: Uuid,
    /// Whom to meet.
    pub contact: Uuid,
    /// How it stands.
    pub state: SuggestionState,
    /// First moment.
    pub start: DateTime<Utc>,
    /// Last moment.
    pub end: DateTime<Utc>,
}

/// How a suggestion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuggestionState {
    /// Waits for the user.
    Pending,
    /// Waits, with an event in the calendar: no message is due.
    PendingWithEvent,
    /// Was put off until a minute ago.
    SnoozedUntilNow,
    /// Was put off until next week.
    SnoozedOn,
    /// The two will meet.
    Accepted,
}

impl SuggestionState {
    /// `suggestion_status`, before anybody looks at it.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::Pending | Self::PendingWithEvent => "pending",
            Self::SnoozedUntilNow | Self::SnoozedOn => "snoozed",
            Self::Accepted => "accepted",
        }
    }
}

/// What a user said about the times of a week: days from Sunday, times of the user's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnAvailability {
    /// Only these; all when there are none.
    pub blocks: &'static [Block],
    /// Not these.
    pub commute: &'static [Block],
    /// Nor the night.
    pub night: Option<(&'static str, &'static str)>,
}

/// Weekday, beginning and end.
pub type Block = (u8, &'static str, &'static str);

const WORKING_LUNCHES: &[Block] = &[
    (1, "11:30", "14:00"),
    (2, "11:30", "14:00"),
    (4, "17:00", "22:30"),
    (6, "10:00", "18:00"),
    (5, "22:00", "01:00"),
];
const COMMUTE: &[Block] = &[(1, "08:00", "09:30"), (3, "17:15", "18:45"), (6, "12:00", "12:20")];

/// From one moment to another.
pub(super) type Period = (DateTime<Utc>, DateTime<Utc>);

/// For a time without an event; it is announced in the present batch, not the next.
const DAYS_SEARCHED: i32 = 4;

impl OwnAvailability {
    pub(super) fn plan(place: usize) -> Self {
        match place % 4 {
            0 => Self::default(),
            1 => Self { blocks: WORKING_LUNCHES, ..Self::default() },
            2 => Self { commute: COMMUTE, night: Some(("22:00", "07:30")), ..Self::default() },
            _ => Self { blocks: WORKING_LUNCHES, commute: COMMUTE, night: Some(("23:30", "09:00")) },
        }
    }

    pub(super) async fn insert(&self, db: &mut PgConnection, user: Uuid) -> sqlx::Result<()> {
        let is_default = self.blocks.is_empty() && self.commute.is_empty() && self.night.is_none();
        if is_default {
            return Ok(());
        }
        let json = |blocks: &[Block]| {
            let block =
                |(day, start, end): &Block| json!({ "dayOfWeek": day, "startTime": start, "endTime": end });
            (!blocks.is_empty()).then(|| blocks.iter().map(block).collect::<Value>())
        };
        sqlx::query(
            "INSERT INTO availability_params
                (user_id, manual_time_blocks, commute_windows, nighttime_start, nighttime_end)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(user)
        .bind(json(self.blocks))
        .bind(json(self.commute))
        .bind(self.night.map(|(start, _)| start))
        .bind(self.night.map(|(_, end)| end))
        .execute(db)
        .await?;
        Ok(())
    }
}

/// One that waits, for a contact who is overdue, and one of another kind, by the user's place in the world. `busy` is when the
/// calendars have events: the time of some suggestions is free and in the user's hours, that of others as it may be.
pub(super) fn plan(
    contacts: &[OwnContact],
    place: usize,
    at: DateTime<Utc>,
    busy: &[Period],
    hours: &Hours,
) -> Vec<OwnSuggestion> {
    let other = match place % 4 {
        0 => SuggestionState::PendingWithEvent,
        1 => SuggestionState::SnoozedUntilNow,
        2 => SuggestionState::SnoozedOn,
        _ => SuggestionState::Accepted,
    };
    let foreign = contacts.iter().find(|contact| contact.origin == Origin::Foreign);
    let linked = contacts.iter().find(|contact| matches!(contact.origin, Origin::Linked(_)));
    let hour = TimeDelta::hours(1);
    let first = (at + TimeDelta::days(2)).duration_trunc(hour).unwrap_or(at);
    let is_free = |start: &DateTime<Utc>| is_free((*start, *start + hour), busy, hours);
    let free = (0..DAYS_SEARCHED * 24).map(|hours| first + hour * hours).find(is_free);
    let waiting = free.filter(|_| place.is_multiple_of(2)).unwrap_or(first);
    [(foreign, SuggestionState::Pending, waiting), (linked, other, first + hour * 26)]
        .into_iter()
        .filter_map(|(contact, state, start)| {
            let end = start + hour;
            Some(OwnSuggestion { id: Uuid::new_v4(), contact: contact?.id, state, start, end })
        })
        .collect()
}

/// Whether the user can meet a contact then.
pub(super) fn is_free((start, end): Period, busy: &[Period], hours: &Hours) -> bool {
    busy.iter().all(|(from, until)| *until <= start || end <= *from) && hours.contain_all(start, end)
}

impl OwnSuggestion {
    pub(super) async fn insert(
        &self,
        db: &mut PgConnection,
        user: Uuid,
        at: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let snoozed_until = match self.state {
            SuggestionState::SnoozedUntilNow => Some(at - TimeDelta::minutes(1)),
            SuggestionState::SnoozedOn => Some(at + TimeDelta::days(7)),
            SuggestionState::Pending | SuggestionState::PendingWithEvent | SuggestionState::Accepted => None,
        };
        sqlx::query(
            "INSERT INTO suggestions
                (id, user_id, contact_id, trigger_type, proposed_timeslot_start, proposed_timeslot_end,
                 proposed_timeslot_timezone, reasoning, status, calendar_event_id, snoozed_until, created_at)
             VALUES ($1, $2, $3, 'timebound', $4, $5, 'UTC', 'You have not met for long.', $6::suggestion_status, $7,
                     $8, $9)",
        )
        .bind(self.id)
        .bind(user)
        .bind(self.contact)
        .bind(self.start)
        .bind(self.end)
        .bind(self.state.status())
        .bind((self.state == SuggestionState::PendingWithEvent).then_some("an-event-of-the-application"))
        .bind(snoozed_until)
        .bind(at - TimeDelta::days(1))
        .execute(&mut *db)
        .await?;
        sqlx::query("INSERT INTO suggestion_contacts (suggestion_id, contact_id) VALUES ($1, $2)")
            .bind(self.id)
            .bind(self.contact)
            .execute(db)
            .await?;
        Ok(())
    }
}

/// A group of the application's own that makes its one member a close friend.
pub(super) async fn insert_close_friend(
    db: &mut PgConnection,
    user: Uuid,
    contact: Uuid,
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH made AS (INSERT INTO groups (user_id, name) VALUES ($1, 'Very close to me') RETURNING id)
         INSERT INTO contact_groups (contact_id, group_id) SELECT $2, id FROM made",
    )
    .bind(user)
    .bind(contact)
    .execute(db)
    .await?;
    Ok(())
}
