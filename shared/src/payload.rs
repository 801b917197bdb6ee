//! What each queue's tasks carry: the contract between producers and jobs.
//!
//! Fields are camelCase JSON; unknown fields are ignored. A payload type names its queue, so a task
//! cannot be sent to a queue of another kind.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::queue::Queue;

mod notification;
mod suggestion;
mod sweep;
mod sync;
mod webhook;

pub use notification::{BatchNotifications, NotificationReminder, TokenHealthReminder};
pub use suggestion::{RegenerationReason, SuggestionGeneration, SuggestionRegeneration};
pub use sweep::Position;
pub use sync::{
    AdaptiveSync, CalendarSync, ContactsResume, ContactsStep, GoogleContactsSync, SyncType, TokenRefresh,
    Trigger,
};
pub use webhook::{RenewalReason, WebhookHealthCheck, WebhookRenewal};

/// A task's content, tied to the queue that carries it.
pub trait Payload: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    /// The queue of all tasks with this payload.
    const QUEUE: Queue;

    /// Version of the schema. A task of a newer version waits for a revision that knows it.
    const VERSION: u32 = 1;

    /// Turns a payload of version `from` into one of version `from + 1`; called from the task's version on, one after the
    /// other. A fixture of every version is kept.
    #[must_use]
    fn upgrade(_from: u32, value: serde_json::Value) -> serde_json::Value {
        value
    }

    /// The user that the task is about, for logs; `None` for a sweep.
    fn user_id(&self) -> Option<Uuid>;
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
