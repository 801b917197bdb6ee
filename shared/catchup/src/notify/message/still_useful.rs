//! The question to a user who did not react to digests: whether more are wanted.

use askama::Template;
use uuid::Uuid;

use super::{Email, Frame, Notification, Sms, written};
use crate::db::deliveries::NotificationId;

/// The question as its user gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillUseful {
    /// The last row of `suggestions` that the user was notified about: who acts again, and does not react later, is asked
    /// again.
    pub last_suggestion_id: Uuid,
    /// Where the user says yes.
    pub yes_url: String,
}

#[derive(Template)]
#[template(path = "question/subject.txt")]
struct Subject;

#[derive(Template)]
#[template(path = "question/sms.txt")]
struct Texting;

#[derive(Template)]
#[template(path = "question/mail.txt")]
struct Text<'a> {
    yes_url: &'a str,
    frame: &'a Frame,
}

#[derive(Template)]
#[template(path = "question/mail.html")]
struct Html<'a> {
    subject: &'a str,
    yes_url: &'a str,
    frame: &'a Frame,
}

impl StillUseful {
    /// One question: of several, the first.
    fn yes_url<'a>(questions: &[&'a Self], frame: &'a Frame) -> &'a str {
        questions.first().map_or(&frame.suggestions_url, |question| &question.yes_url)
    }
}

impl Notification for StillUseful {
    fn id(&self) -> NotificationId {
        NotificationId::StillUseful(self.last_suggestion_id)
    }

    fn sms(notifications: &[&Self], frame: &Frame) -> Sms {
        Sms::first_that_fits([written(&Texting)], Self::yes_url(notifications, frame), frame)
    }

    fn email(notifications: &[&Self], frame: &Frame) -> Email {
        let (subject, yes_url) = (written(&Subject), Self::yes_url(notifications, frame));
        let html = Html { subject: &subject.clone(), yes_url, frame };
        Email::new(subject, &Text { yes_url, frame }, &html)
    }
}
