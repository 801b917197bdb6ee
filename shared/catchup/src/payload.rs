//! What each queue's tasks carry: the contract between producers and jobs.

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use shared::envelope::{self, Envelope};
use shared::payload::{Payload, Position};
use shared::queue::Queue;
use shared::tasks::{self, Enqueued, Options, Tasks};
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
    Kind::of_sweeps::<AdaptiveSync>(),
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

/// A payload whose tasks can be about one user.
pub trait ForUser: Payload {
    /// The task of a user, as a person asks for it. About [`NO_USER`] it has no effects.
    fn for_user(user_id: Uuid) -> Self;
}

/// A payload whose tasks are all sweeps.
pub trait SweepOnly: Payload {
    /// A sweep that begins there. After the last user it has no effects.
    fn sweep(position: Position) -> Self;
}

/// Creates a task with that data.
pub type Enqueue = fn(Tasks, Value, Options) -> BoxFuture<'static, Result<Enqueued, tasks::Error>>;

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
    /// Data of a task without effects, with which the queue is tried in production.
    pub dry_run: fn() -> serde_json::Result<Value>,
    /// Data of the task of a user, as a person asks for it; none, if all its tasks are sweeps.
    pub for_user: Option<fn(Uuid) -> serde_json::Result<Value>>,
    /// Creates a task with such data, as the functions create theirs.
    pub enqueue: Enqueue,
    /// Reads a task of any version, and returns its data as this revision would send it.
    pub reread: fn(&Envelope) -> Result<serde_json::Result<Value>, envelope::Error>,
}

impl Kind {
    const fn of<P: ForUser>() -> Self {
        let dry_run = || serde_json::to_value(P::for_user(NO_USER));
        Self::with::<P>(dry_run, Some(|user_id| serde_json::to_value(P::for_user(user_id))))
    }

    const fn of_sweeps<P: SweepOnly>() -> Self {
        Self::with::<P>(|| serde_json::to_value(P::sweep(after_all_users())), None)
    }

    const fn with<P: Payload>(
        dry_run: fn() -> serde_json::Result<Value>,
        for_user: Option<fn(Uuid) -> serde_json::Result<Value>>,
    ) -> Self {
        Self {
            queue: P::QUEUE,
            version: P::VERSION,
            dry_run,
            for_user,
            enqueue: |tasks, data, options| {
                Box::pin(async move { tasks.enqueue::<P>(&serde_json::from_value(data)?, options).await })
            },
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
