//! Whom to suggest when: the rules that generation and regeneration share, in one place.
//!
//! A suggestion is *open* while it is pending or snoozed. It ends by the user's word (accepted, dismissed), or by ours, which
//! is recorded ([`DismissalReason`](crate::db::suggestions::DismissalReason)): its time begins, its time is not free any more and there is no
//! other, or the contact is not wanted any more. Who snoozed one hears of it again: until a message announces its next time, it gets others.
//!
//! | rule | where |
//! |---|---|
//! | few: [`MAX_OPEN`] open ones, one per contact, one question | [`plan`] |
//! | in time: a day ahead, and half a day after the batch that announces it | `slot_pool` |
//! | when: evenings and weekends first, on days apart, by day for the contact, too | `slot_pool` |
//! | whom: by how overdue they are, close friends first, no due contact waits for ever | `ranking` |
//! | not whom: what the user dismissed, and for how long | `history` |
//! | not whom: robots, organisations, the same person twice | `person` |
//! | why: facts that stay true | `reason` |

mod batch;
mod conflicts;
mod frequency;
mod history;
mod part_of_week;
mod person;
mod plan;
mod planner;
mod ranking;
mod reason;
mod slot_pool;
mod slots;

use crate::db::suggestions::Contact;

pub use plan::{Decision, MAX_OPEN, Plan};
pub use planner::{Planner, explain};
pub use slot_pool::{AFTER_BATCH, MAX_PER_BATCH, NOTICE};

impl Contact {
    /// Whether the user said anything about how close the two are.
    #[must_use]
    pub fn has_word_of_user(&self) -> bool {
        self.frequency.is_some() || self.is_in_group
    }

    /// Whether neither the user nor a meeting says anything about the two.
    fn is_unknown(&self) -> bool {
        self.last_met.is_none() && !self.has_word_of_user()
    }
}

#[cfg(test)]
mod tests;
