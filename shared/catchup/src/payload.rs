//! What each queue's tasks carry: the contract between producers and jobs.

use serde::Serialize;

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
