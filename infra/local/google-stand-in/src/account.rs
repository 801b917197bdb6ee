//! A user of the application and what they granted it at Google.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One of the two integrations; each has its own grant and its own tokens.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::Display,
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
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::GoogleCalendar, Self::GoogleContacts];

    /// `google_calendar` or `google_contacts`: `oauth_tokens.provider` and `integration_type` in Postgres.
    #[must_use]
    pub const fn provider(self) -> &'static str {
        match self {
            Self::GoogleCalendar => "google_calendar",
            Self::GoogleContacts => "google_contacts",
        }
    }

    /// The OAuth scope that the application asked for.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::GoogleCalendar => "https://www.googleapis.com/auth/calendar.readonly",
            Self::GoogleContacts => "https://www.googleapis.com/auth/contacts.readonly",
        }
    }
}

/// Whether Google still honours a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Refresh token and access tokens work.
    Granted,
    /// The user took the grant back: refreshing answers `invalid_grant`, every access token 401.
    Revoked,
}

/// What one user granted for one integration, with the tokens that the application is to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Which of the two.
    pub integration: Integration,
    /// `None`: the application never received one.
    pub refresh_token: Option<String>,
    /// Whether it still holds.
    pub state: GrantState,
    /// The newest access token; at first the one to be stored in Postgres when seeding.
    pub access_token: String,
    /// When that access token ends; may lie in the past.
    pub access_token_expires_at: DateTime<Utc>,
}

/// A user of the application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct User {
    /// `users.id` in Postgres.
    pub id: Uuid,
    /// Full name.
    pub name: String,
    /// Address of the Google account, and of the application's; also the id of the primary calendar.
    pub email: String,
    /// IANA time zone.
    pub time_zone: Tz,
    /// The calendar grant, if the user connected their calendar.
    pub calendar_grant: Option<Grant>,
    /// The contacts grant, if the user connected their contacts.
    pub contacts_grant: Option<Grant>,
}

impl User {
    /// The grant for `integration`.
    #[must_use]
    pub fn grant(&self, integration: Integration) -> Option<&Grant> {
        match integration {
            Integration::GoogleCalendar => self.calendar_grant.as_ref(),
            Integration::GoogleContacts => self.contacts_grant.as_ref(),
        }
    }

    pub(crate) fn grant_mut(&mut self, integration: Integration) -> &mut Option<Grant> {
        match integration {
            Integration::GoogleCalendar => &mut self.calendar_grant,
            Integration::GoogleContacts => &mut self.contacts_grant,
        }
    }
}
