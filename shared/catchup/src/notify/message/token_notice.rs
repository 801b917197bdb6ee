//! Tokens that do not work, or soon will not: only the user can connect again.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::{Email, Notification, Sms, email_body::EmailBody};
use crate::application::Application;
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
    /// When it ends, of one that still works.
    pub ends_at: Option<DateTime<Utc>>,
}

impl TokenNotice {
    fn matter(&self) -> String {
        let product = self.integration.product();
        match self.kind {
            NoticeKind::TokenInvalid => format!("CatchUp can no longer read your {product}."),
            NoticeKind::TokenExpiringSoon => format!("CatchUp's access to your {product} ends soon."),
        }
    }

    fn title(&self) -> String {
        let product = self.integration.product();
        match self.kind {
            NoticeKind::TokenInvalid => format!("Connect your {product} to CatchUp again"),
            NoticeKind::TokenExpiringSoon => format!("CatchUp's access to your {product} ends soon"),
        }
    }
}

impl Notification for TokenNotice {
    fn id(&self) -> NotificationId {
        NotificationId::TokenNotice(self.id)
    }

    fn sms(notifications: &[&Self], _zone: Tz, application: &Application) -> Sms {
        let matters: Vec<_> = notifications.iter().map(|notice| notice.matter()).collect();
        let body = format!("{} Connect again:", matters.join(" "));
        Sms::new("", &body, &format!(" {}", application.preferences()))
    }

    fn email(notifications: &[&Self], _zone: Tz, application: &Application) -> Email {
        let title = match notifications {
            [one] => one.title(),
            _ => "Connect CatchUp to Google again".to_owned(),
        };
        notifications
            .iter()
            .fold(EmailBody::new(&title), |body, notice| {
                body.paragraph(format!("{} Connect it again to keep it up to date.", notice.matter()))
                    .link("Connect again", application.preferences())
            })
            .paragraph("CatchUp only reads, and you can take the permission back at any time.")
            .write()
    }
}
