//! Whom to suggest when: the rules that generation and regeneration share, in one place.
//!
//! A suggestion is *open* while it is pending or snoozed. It ends by the user's word (accepted, dismissed), or by ours, which
//! is recorded ([`Ending`](crate::db::suggestions::Ending)): its time begins, its time is not free any more and there is no
//! other, or the contact is not wanted any more.
//!
//! | rule | where |
//! |---|---|
//! | few: [`MAX_OPEN`] open ones, one per contact, one question | [`plan`] |
//! | in time: a day ahead, and half a day after the batch that announces it | [`Horizon`] |
//! | when: evenings and weekends first, two a day, by day for the contact, too | `times` |
//! | whom: by how overdue they are, close friends first, no due contact waits for ever | `ranking` |
//! | not whom: what the user dismissed, and for how long | `history` |
//! | not whom: robots, organisations, the same person twice | `person` |
//! | why: facts that stay true | `reason` |

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

mod batch;
mod conflicts;
mod frequency;
mod history;
mod part_of_week;
mod person;
mod plan;
mod ranking;
mod reason;
mod review;
mod slots;
mod times;

pub use batch::WeeklyTime;
pub use frequency::Frequency;
pub use plan::{Decision, MAX_OPEN, Plan, Situation, plan};
pub use review::{Reviews, explain};
pub use times::{AFTER_BATCH, Horizon, MAX_PER_BATCH};

/// Someone the user could meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// The contact.
    pub id: Uuid,
    /// What the user calls them.
    pub name: String,
    /// Its e-mail address.
    pub email: Option<String>,
    /// Its number, as it was entered.
    pub phone: Option<String>,
    /// Its time zone.
    pub zone: Option<Tz>,
    /// How often the user wants to be in touch.
    pub frequency: Option<Frequency>,
    /// When the two were last in touch: the latest of what the contact, past interactions and the calendar say.
    pub last_met: Option<DateTime<Utc>>,
    /// When the calendar shows the two next.
    pub next_meeting: Option<DateTime<Utc>>,
    /// Since when the user has the contact.
    pub created_at: Option<DateTime<Utc>>,
    /// A close friend, by circle or group.
    pub is_close: bool,
    /// It is in a group or a circle.
    pub is_in_group: bool,
    /// It is kept, and not to be suggested.
    pub is_archived: bool,
}

impl Contact {
    /// Whether the user said anything about how close the two are.
    #[must_use]
    pub fn has_word_of_user(&self) -> bool {
        self.frequency.is_some() || self.is_in_group
    }
}

#[cfg(test)]
mod tests;
