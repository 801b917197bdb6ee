//! The digest: a few suggestions whom to meet, and when.

use askama::Template;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Email, Frame, Notification, Sms, brief, one_line, written};
use crate::db::deliveries::NotificationId;
use crate::notify::zone::ReaderClock;

/// Longest text about the reason, in UTF-16 units: it is one line of why, not a page.
const MAX_REASON_UNITS: usize = 400;
/// Longest subject that names people, in UTF-16 units; a longer one only counts the suggestions.
const MAX_SUBJECT_UNITS: usize = 120;
/// Longest texts about the people of a suggestion in a text message, in UTF-16 units: the first that fit are used.
const PEOPLE_UNITS: [usize; 6] = [60, 32, 20, 14, 9, 5];

/// A suggestion as its user is notified about it.
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
    /// Why them, in words that the suggestion has.
    pub reasoning: String,
    /// What the reader can do from the message.
    pub acts: Option<Acts>,
}

/// Links with which the reader says what became of a suggestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acts {
    /// They met.
    pub met_url: String,
    /// It is to be suggested later.
    pub not_now_url: String,
    /// The contact is not to be suggested again.
    pub never_url: String,
}

impl Suggestion {
    /// `Ana`, `Ana and Ben`, `Ana, Ben and 3 others`: names in full.
    fn people(&self) -> String {
        let people = match self.contacts.as_slice() {
            [] => "someone".to_owned(),
            [one] => one.clone(),
            [one, other] => format!("{one} and {other}"),
            [one, other, third] => format!("{one}, {other} and {third}"),
            [one, other, rest @ ..] => format!("{one}, {other} and {} others", rest.len()),
        };
        one_line(&people)
    }

    /// The reason without the name that it begins with, which stands above it.
    fn reason(&self) -> String {
        let reason = one_line(&self.reasoning);
        let name = self.contacts.first().map(|name| one_line(name) + " · ");
        let without_name = name.and_then(|name| reason.strip_prefix(&name));
        without_name.unwrap_or(&reason).to_owned()
    }
}

/// As a sentence begins.
fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters).collect()
}

/// A suggestion in words.
struct Idea<'a> {
    people: String,
    slot: String,
    reason: String,
    acts: Option<&'a Acts>,
}

#[derive(Template)]
#[template(path = "digest/subject.txt")]
struct Subject<'a> {
    ideas: &'a [Idea<'a>],
    are_named: bool,
}

#[derive(Template)]
#[template(path = "digest/mail.txt")]
struct Text<'a> {
    ideas: &'a [Idea<'a>],
    frame: &'a Frame,
}

#[derive(Template)]
#[template(path = "digest/mail.html")]
struct Html<'a> {
    subject: &'a str,
    ideas: &'a [Idea<'a>],
    frame: &'a Frame,
}

#[derive(Template)]
#[template(path = "digest/in-app.txt")]
struct InApp<'a> {
    ideas: &'a [Idea<'a>],
}

/// A digest as the application shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InAppDigest {
    /// One line, of at most [`MAX_SUBJECT_UNITS`].
    pub title: String,
    /// A line for each suggestion.
    pub description: String,
    /// Where they are.
    pub url: String,
}

impl InAppDigest {
    /// The digest of these suggestions, by the reader's clock.
    #[must_use]
    pub fn new(suggestions: &[Suggestion], clock: ReaderClock, url: &str) -> Self {
        let ideas = ideas(&suggestions.iter().collect::<Vec<_>>(), clock);
        Self { title: subject(&ideas), description: written(&InApp { ideas: &ideas }), url: url.to_owned() }
    }
}

/// A suggestion in the few words of a text message.
struct Line {
    people: String,
    begins: String,
    reason: String,
}

#[derive(Template)]
#[template(path = "digest/sms.txt")]
struct Texting {
    lines: Vec<Line>,
}

/// In the order of time, whatever the order in which they were found.
fn in_order<'a>(suggestions: &[&'a Suggestion]) -> Vec<&'a Suggestion> {
    let mut suggestions = suggestions.to_vec();
    suggestions.sort_by_key(|suggestion| suggestion.start);
    suggestions
}

fn ideas<'a>(suggestions: &[&'a Suggestion], clock: ReaderClock) -> Vec<Idea<'a>> {
    let idea = |suggestion: &'a Suggestion| Idea {
        people: suggestion.people(),
        slot: clock.slot(suggestion.start, suggestion.end),
        reason: capitalized(&brief(&suggestion.reason(), MAX_REASON_UNITS)),
        acts: suggestion.acts.as_ref(),
    };
    in_order(suggestions).into_iter().map(idea).collect()
}

/// With names, if it is not too long.
fn subject(ideas: &[Idea]) -> String {
    let named = written(&Subject { ideas, are_named: true });
    if named.encode_utf16().count() <= MAX_SUBJECT_UNITS {
        named
    } else {
        written(&Subject { ideas, are_named: false })
    }
}

impl Notification for Suggestion {
    fn id(&self) -> NotificationId {
        NotificationId::Suggestion(self.id)
    }

    fn sms(notifications: &[&Self], frame: &Frame) -> Sms {
        let suggestions = in_order(notifications);
        let line = |suggestion: &Self, people_units, reason_units| {
            Line {
                people: brief(&suggestion.people(), people_units),
                begins: frame.clock.brief(suggestion.start, frame.now),
                reason: suggestion.reason().trim_end_matches('.').to_owned(),
            }
            .with_reason_of(reason_units)
        };
        let wording = |people_units, reason_units| {
            let lines = suggestions.iter().map(|it| line(it, people_units, reason_units)).collect();
            written(&Texting { lines })
        };
        let with_reason = std::iter::once(wording(PEOPLE_UNITS[0], MAX_REASON_UNITS));
        let shorter = PEOPLE_UNITS.into_iter().map(|units| wording(units, 0));
        Sms::first_that_fits(with_reason.chain(shorter), &frame.suggestions_url, frame)
    }

    fn email(notifications: &[&Self], frame: &Frame) -> Email {
        let ideas = ideas(notifications, frame.clock);
        let subject = subject(&ideas);
        let html = Html { subject: &subject.clone(), ideas: &ideas, frame };
        Email::new(subject, &Text { ideas: &ideas, frame }, &html)
    }
}

impl Line {
    /// With a reason only if it is that short, and no question: a text message asks one already.
    fn with_reason_of(mut self, max_units: usize) -> Self {
        if self.reason.ends_with('?') || self.reason.encode_utf16().count() > max_units {
            self.reason.clear();
        }
        self
    }
}
