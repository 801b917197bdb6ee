//! Tokens that do not work, or soon will not: only the user can connect again.

use askama::Template;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Email, Frame, Notification, Sms, written};
use crate::db::deliveries::NotificationId;
use crate::db::token_health::NoticeKind;
use crate::payload::Integration;

/// A notification about a token as its user is reminded of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenNotice {
    /// Row of `token_health_notifications`.
    pub id: Uuid,
    /// Whose token.
    pub integration: Integration,
    /// What is the matter with it.
    pub kind: NoticeKind,
    /// Since when it does not work, or until when it still does; `None` when that is unknown.
    pub at: Option<DateTime<Utc>>,
}

/// A notice in words.
struct Notice {
    integration: Integration,
    kind: NoticeKind,
    product: &'static str,
    day: Option<String>,
    moment: Option<String>,
}

#[derive(Template)]
#[template(path = "reminder/subject.txt")]
struct Subject<'a> {
    notices: &'a [Notice],
}

#[derive(Template)]
#[template(path = "reminder/sms.txt")]
struct Texting<'a> {
    notices: &'a [Notice],
}

#[derive(Template)]
#[template(path = "reminder/mail.txt")]
struct Text<'a> {
    notices: &'a [Notice],
    frame: &'a Frame,
}

#[derive(Template)]
#[template(path = "reminder/mail.html")]
struct Html<'a> {
    subject: &'a str,
    notices: &'a [Notice],
    frame: &'a Frame,
}

fn in_words(notices: &[&TokenNotice], frame: &Frame) -> Vec<Notice> {
    let notice = |notice: &&TokenNotice| Notice {
        integration: notice.integration,
        kind: notice.kind,
        product: notice.integration.product(),
        day: notice.at.map(|at| frame.clock.date(at)),
        moment: notice.at.map(|at| frame.clock.moment(at)),
    };
    notices.iter().map(notice).collect()
}

impl Notification for TokenNotice {
    fn id(&self) -> NotificationId {
        NotificationId::TokenNotice(self.id)
    }

    fn sms(notifications: &[&Self], frame: &Frame) -> Sms {
        let notices = in_words(notifications, frame);
        Sms::first_that_fits([written(&Texting { notices: &notices })], &frame.preferences_url, frame)
    }

    fn email(notifications: &[&Self], frame: &Frame) -> Email {
        let notices = in_words(notifications, frame);
        let subject = written(&Subject { notices: &notices });
        let html = Html { subject: &subject.clone(), notices: &notices, frame };
        Email::new(subject, &Text { notices: &notices, frame }, &html)
    }
}
