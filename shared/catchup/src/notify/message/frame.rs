//! What every message has besides what it is about: who reads it, and the ways on and out.

use std::fmt;

use chrono::{DateTime, Utc};

use super::one_line;
use crate::notify::zone::ReaderClock;

/// What every message has besides what it is about.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The reader's name, as the account has it.
    pub name: Option<String>,
    /// The clock by which the reader is told times.
    pub clock: ReaderClock,
    /// When the message is written.
    pub now: DateTime<Utc>,
    /// The application's page of suggestions.
    pub suggestions_url: String,
    /// The application's page of preferences, where integrations are connected again, too.
    pub preferences_url: String,
    /// Where the reader ends e-mails of this kind. Without one, an e-mail has no such link.
    pub unsubscribe_url: Option<String>,
    /// Postal address of the sender, which laws want in every e-mail to many.
    pub postal_address: Option<String>,
    /// Whether this is the first text message to the number: then it says how to stop them.
    pub is_first_text: bool,
    /// Whether replies to text messages arrive: none do at a name.
    pub takes_replies: bool,
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Frame").finish_non_exhaustive()
    }
}

impl Frame {
    /// `Hi Sam,`: by the first of the reader's names, unless that is an abbreviation such as `Dr.`.
    pub(super) fn greeting(&self) -> String {
        let name = one_line(self.name.as_deref().unwrap_or_default());
        let first = name.split(' ').next().filter(|first| !first.ends_with('.')).unwrap_or(&name);
        if first.is_empty() { "Hi,".to_owned() } else { format!("Hi {first},") }
    }
}
