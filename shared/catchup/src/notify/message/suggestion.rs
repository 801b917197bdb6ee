//! Suggestions: whom to meet, and when.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::{Email, Notification, Sms, brief, email_body::EmailBody, one_line};
use crate::application::Application;
use crate::db::deliveries::NotificationId;
use crate::notify::zone;

/// Longest text about the people of a suggestion, in UTF-16 units: with it, a time and a link fit into a text message
/// of whatever alphabet.
const MAX_PEOPLE_UNITS: usize = 32;
/// Longest text about the reason in a digest, where one suggestion must leave room for others.
const MAX_REASONING_UNITS: usize = 400;

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
        brief(&people, MAX_PEOPLE_UNITS)
    }
}

impl Notification for Suggestion {
    fn id(&self) -> NotificationId {
        NotificationId::Suggestion(self.id)
    }

    fn sms(notifications: &[&Self], zone: Tz, application: &Application) -> Sms {
        let tail = format!(" {}", application.home());
        let when = |it: &Self| zone::slot(it.start, it.end, zone);
        if let [one] = notifications {
            let head = format!("CatchUp: time for {}? {}.", one.people(), when(one));
            let reasoning = one_line(&one.reasoning);
            let body = if reasoning.is_empty() { reasoning } else { format!(" {reasoning}") };
            return Sms::new(&head, &body, &tail);
        }
        let ideas: Vec<_> = notifications.iter().map(|it| format!(" {} {}", it.people(), when(it))).collect();
        let head = format!("CatchUp: {} ideas:", notifications.len());
        Sms::new(&head, &ideas.join(";"), &tail)
    }

    fn email(notifications: &[&Self], zone: Tz, application: &Application) -> Email {
        let subject = match notifications {
            [one] => format!("Time to catch up with {}", one.people()),
            several => format!("{} ideas for catching up", several.len()),
        };
        let body = EmailBody::new(&subject).paragraph("Your calendar has room for:");
        notifications
            .iter()
            .fold(body, |body, suggestion| {
                body.heading(suggestion.people())
                    .paragraph(zone::slot(suggestion.start, suggestion.end, zone))
                    .paragraph(brief(&suggestion.reasoning, MAX_REASONING_UNITS))
            })
            .link("Accept, snooze or dismiss in CatchUp", application.home())
            .write()
    }
}
