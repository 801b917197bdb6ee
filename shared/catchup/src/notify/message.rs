//! The texts of messages: plain values become texts, and no other module writes to people.

use chrono_tz::Tz;

use super::sms;
use crate::application::Application;
use crate::db::deliveries::NotificationId;

mod email_body;
mod suggestion;
mod token_notice;

pub use suggestion::Suggestion;
pub use token_notice::TokenNotice;

/// Something that people are notified about.
pub trait Notification: Sync {
    /// Names it in the ledger.
    fn id(&self) -> NotificationId;

    /// The text message about all these.
    fn sms(notifications: &[&Self], zone: Tz, application: &Application) -> Sms;

    /// The e-mail about all these.
    fn email(notifications: &[&Self], zone: Tz, application: &Application) -> Email;
}

/// A text message of at most [`sms::MAX_SEGMENTS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sms(String);

impl Sms {
    /// The three in a row; of the `body`, as much as fits.
    #[must_use]
    pub fn new(head: &str, body: &str, tail: &str) -> Self {
        Self(sms::fit(&plain(head), &plain(body), tail))
    }

    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// An e-mail: the same said twice, for readers with and without HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// A whole document.
    pub html: String,
}

/// `text` on one line, without control characters: a name must not begin a header of its own.
fn one_line(text: &str) -> String {
    let parts = text.split(|c: char| c.is_whitespace() || c.is_control());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// As [`one_line`], at most so many UTF-16 units long, ended at a word.
fn brief(text: &str, max_units: usize) -> String {
    let text = one_line(text);
    let mut units = 0;
    let too_far = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > max_units
    });
    let Some((end, next)) = too_far else { return text };
    let kept = &text[..end];
    let words = if next == ' ' { kept } else { kept.rsplit_once(' ').map_or(kept, |(words, _)| words) };
    format!("{words}…")
}

/// Typographic signs as GSM's alphabet has them: one of them would halve what a message holds.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '‘' | '’' | '‚' | '‛' | '′' | '`' => plain.push('\''),
            '“' | '”' | '„' | '‟' | '″' => plain.push('"'),
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => plain.push('-'),
            '…' => plain.push_str("..."),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
