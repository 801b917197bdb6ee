//! The texts of messages: plain values become texts, and no other module writes to people.
//!
//! What they say is in `templates`, next to `src`: one folder per kind of message, and a letterhead for all e-mails. The
//! compiler checks the templates; `scripts/ops messages preview` shows what becomes of them.

use askama::Template;

use super::sms;
use crate::db::deliveries::NotificationId;

mod digest;
mod frame;
mod reminder;
mod still_useful;

pub use digest::{Acts, InAppDigest, Suggestion};
pub use frame::Frame;
pub use reminder::TokenNotice;
pub use still_useful::StillUseful;

/// Something that people are notified about.
pub trait Notification: Sync {
    /// Names it in the ledger.
    fn id(&self) -> NotificationId;

    /// The text message about all these.
    fn sms(notifications: &[&Self], frame: &Frame) -> Sms;

    /// The e-mail about all these.
    fn email(notifications: &[&Self], frame: &Frame) -> Email;
}

/// A text message of at most [`sms::MAX_SEGMENTS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sms(String);

/// What every text message ends with.
#[derive(Template)]
#[template(path = "tail.sms.txt")]
struct Tail<'a> {
    url: &'a str,
    frame: &'a Frame,
}

impl Sms {
    /// The three in a row; of the `body`, as much as fits.
    #[must_use]
    pub fn new(head: &str, body: &str, tail: &str) -> Self {
        Self(sms::fit(&plain(head), &plain(body), tail))
    }

    /// The first of `wordings` that fits in front of the link, or as much of the last as fits.
    fn first_that_fits(wordings: impl IntoIterator<Item = String>, url: &str, frame: &Frame) -> Self {
        let tail = format!(" {}", written(&Tail { url, frame }));
        let mut words = String::new();
        for wording in wordings {
            words = plain(&wording);
            let whole = format!("{words}{tail}");
            if sms::segments(&whole) <= sms::MAX_SEGMENTS {
                return Self(whole);
            }
        }
        Self::new("", &words, &tail)
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

impl Email {
    fn new(subject: String, text: &impl Template, html: &impl Template) -> Self {
        Self { subject, text: paragraphs(&written(text)), html: written(html) }
    }
}

/// What a template says. Only the memory to write it into could fail.
fn written(template: &impl Template) -> String {
    template.render().unwrap_or_default().trim().to_owned()
}

/// Lines without blanks at their ends, and never two empty ones: so templates may have them where they are easily read.
fn paragraphs(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
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
    for c in text.replace(" · ", ", ").chars() {
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
