//! What each queue's tasks carry: the contract between producers and jobs.

use serde::Serialize;
use serde_json::Value;
use shared::envelope::{self, Envelope};
use shared::payload::{Payload, Position};
use shared::queue::Queue;
use uuid::Uuid;

mod notification;
mod suggestion;
mod sync;
mod webhook;

pub use notification::{BatchNotifications, BatchTime, NotificationReminder, TokenHealthReminder};
pub use suggestion::{RegenerationReason, SuggestionGeneration, SuggestionRegeneration};
pub use sync::{
    AdaptiveSync, CalendarSync, ContactsResume, ContactsStep, GoogleContactsSync, SyncType, TokenChoice,
    TokenRefresh, Trigger,
};
pub use webhook::{RenewalCause, RenewalReason, WebhookHealthCheck, WebhookRenewal};

/// The payload of each queue, in the order of the declaration.
pub const ALL: &[Kind] = &[
    Kind::of::<TokenRefresh>(),
    Kind::of::<CalendarSync>(),
    Kind::of::<GoogleContactsSync>(),
    Kind::of::<AdaptiveSync>(),
    Kind::of::<WebhookRenewal>(),
    Kind::of::<SuggestionRegeneration>(),
    Kind::of::<BatchNotifications>(),
    Kind::of::<SuggestionGeneration>(),
    Kind::of::<WebhookHealthCheck>(),
    Kind::of::<NotificationReminder>(),
    Kind::of::<TokenHealthReminder>(),
];

/// A user that does not exist.
pub const NO_USER: Uuid = Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000);

/// A payload whose queue can be tried in production, with a task that has no effects.
pub trait DryRun: Payload {
    /// Names [`NO_USER`], or, where a task without a user is all there is, a sweep that begins after the last user.
    fn dry_run() -> Self;
}

/// Where a sweep begins that finds no user.
fn after_all_users() -> Position {
    Position { cursor: Some(Uuid::max()), sweep_id: Some("takeover-check".to_owned()), ..Position::default() }
}

/// A type of payload as a value: what is done with those of all queues alike.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The queue that carries it.
    pub queue: Queue,
    /// Version of its schema.
    pub version: u32,
    /// Data of a task without effects.
    pub dry_run: fn() -> serde_json::Result<Value>,
    /// Reads a task of any version, and returns its data as this revision would send it.
    pub reread: fn(&Envelope) -> Result<serde_json::Result<Value>, envelope::Error>,
}

impl Kind {
    const fn of<P: DryRun>() -> Self {
        Self {
            queue: P::QUEUE,
            version: P::VERSION,
            dry_run: || serde_json::to_value(P::dry_run()),
            reread: |envelope| Ok(serde_json::to_value(envelope.payload::<P>()?)),
        }
    }
}

/// A Google integration of a user, as the database spells it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    serde::Deserialize,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Integration {
    /// Calendar v3.
    GoogleCalendar,
    /// People v1.
    GoogleContacts,
}

impl Integration {
    /// The value of `integration_type` and `provider` columns.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The vendor's name for it, as people know it.
    #[must_use]
    pub fn product(self) -> &'static str {
        match self {
            Self::GoogleCalendar => "Google Calendar",
            Self::GoogleContacts => "Google Contacts",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues;

    #[test]
    fn every_queue_has_a_payload() {
        assert!(
            ALL.iter().map(|kind| kind.queue).eq(queues::all()),
            "ALL is not the list of the declaration"
        );
    }

    #[test]
    fn a_dry_run_is_about_no_user() {
        for Kind { queue, dry_run, .. } in ALL {
            let data = dry_run().unwrap();
            let about = [("userId", NO_USER), ("cursor", Uuid::max())];
            let named = about.iter().filter(|(field, user)| data[field] == user.to_string());
            assert_eq!(named.count(), 1, "{queue:?}: {data}");
        }
    }
}
