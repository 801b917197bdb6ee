//! Where people use the application: what links in messages lead to.

use shared::config::{Config, InvalidConfig};
use url::Url;

use crate::payload::Integration;
use crate::variables;

/// The application's pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Without a slash at its end.
    base: String,
}

impl Application {
    /// The application at `APP_BASE_URL`.
    pub fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let base = config.required::<Url>(&variables::APP_BASE_URL)?;
        Ok(Self { base: base.as_str().trim_end_matches('/').to_owned() })
    }

    /// Where suggestions are.
    #[must_use]
    pub fn suggestions(&self) -> String {
        format!("{}/app", self.base)
    }

    /// Where people say what they want, and connect integrations again.
    #[must_use]
    pub fn preferences(&self) -> String {
        format!("{}/app?view=preferences", self.base)
    }

    /// Where an integration is connected, for the first time or again.
    #[must_use]
    pub fn re_auth_link(&self, integration: Integration) -> String {
        match integration {
            Integration::GoogleCalendar => format!("{}/api/calendar/google/authorize", self.base),
            Integration::GoogleContacts => format!("{}/api/contacts/google/authorize", self.base),
        }
    }
}
