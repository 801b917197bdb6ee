//! Suggestions: whom to meet, and when.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::{Email, Sms, Subject, brief, letter::Letter, one_line};
use crate::application::Application;
use crate::db::deliveries::SubjectId;
use crate::notify::zone;

/// Longest text about the people of a suggestion.
const MAX_NAMES_CHARS: usize = 60;
/// Longest text about the reason in a digest, where one suggestion must leave room for others.
const MAX_REASONING_CHARS: usize = 400;

/// A suggestion as its user is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Row of `suggestions`.
    pub id: Uuid,
    /// Names of the contacts to meet, the main one first.
    pub contacts: Vec<String>,
    /// When the meeting would begin.
    pub start: DateTime<Utc>,
    /// When it would end.
    pub end: DateTime<Utc>,
    /// Why them, why then.
    pub reasoning: String,
}

impl Suggestion {
    /// `Ana`, `Ana and Ben`, `Ana, Ben and 3 others`.
    fn people(&self) -> String {
        let people = match self.contacts.as_slice() {
            [] => "someone".to_owned(),
            [one] => one.clone(),
            [one, other] => format!("{one} and {other}"),
            [one, other, third] => format!("{one}, {other} and {third}"),
            [one, other, rest @ ..] => format!("{one}, {other} and {} others", rest.len()),
        };
        brief(&people, MAX_NAMES_CHARS)
    }
}

impl Subject for Suggestion {
    fn id(&self) -> SubjectId {
        SubjectId::Suggestion(self.id)
    }

    fn sms(&self, zone: Tz, application: &Application) -> Sms {
        let head =
            format!("CatchUp: time for {}? {}. ", self.people(), zone::slot(self.start, self.end, zone));
        Sms::new(&head, &one_line(&self.reasoning), &format!(" {}", application.home()))
    }

    fn email(subjects: &[&Self], zone: Tz, application: &Application) -> Email {
        let subject = match subjects {
            [one] => format!("Time to catch up with {}", one.people()),
            several => format!("{} ideas for catching up", several.len()),
        };
        let letter = Letter::new(&subject).paragraph("Your calendar has room for:");
        subjects
            .iter()
            .fold(letter, |letter, suggestion| {
                letter
                    .heading(suggestion.people())
                    .paragraph(zone::slot(suggestion.start, suggestion.end, zone))
                    .paragraph(brief(&suggestion.reasoning, MAX_REASONING_CHARS))
            })
            .link("Accept, snooze or dismiss in CatchUp", application.home())
            .write()
    }
}
