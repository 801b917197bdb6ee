//! Twilio and `SendGrid` next to a stack, and the inbox of all users.

use std::net::SocketAddr;

use local_cloud::Background;
use local_cloud::stack::serve_messaging;
use messaging_stand_in::{Config, Inbox, SENDGRID_PUBLIC_KEY};

/// Where links in messages and providers' callbacks lead.
pub const WEBHOOKS_URL: &str = "https://webhooks.example.test";
/// The key of the links in messages.
pub const LINK_SIGNING_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A mail server for the same inbox.
pub struct Smtp(Background);

impl Smtp {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// What a function's environment says about it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 3] {
        let Config { smtp_user, smtp_password, from_email, .. } = Config::default();
        [
            ("EMAIL_PROVIDER", "smtp".to_owned()),
            ("SMTP_URL", format!("smtp://{smtp_user}:{smtp_password}@{}", self.0.address())),
            ("SMTP_FROM_EMAIL", from_email),
        ]
    }
}

/// The stand-in for the providers of messages.
pub struct Messaging {
    /// What they accepted, and what is to go wrong.
    pub inbox: Inbox,
    server: Background,
}

impl Messaging {
    /// Starts it, with an empty inbox.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let inbox = Inbox::default();
        let server = serve_messaging(&inbox).expect("the stand-in starts");
        Self { inbox, server }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Starts a mail server next to it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn smtp(&self) -> Smtp {
        let inbox = self.inbox.clone();
        let server = Background::start("smtp", |listener| {
            messaging_stand_in::serve_smtp(listener, inbox, Config::default(), std::future::pending())
        });
        Smtp(server.expect("the stand-in starts"))
    }

    /// What a function's environment says about messages.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 11] {
        let account = Config::default();
        [
            ("APP_BASE_URL", "https://app.example.test".to_owned()),
            ("SENDGRID_API_KEY", account.api_key),
            ("SENDGRID_API_URL", self.server.url()),
            ("SENDGRID_FROM_EMAIL", account.from_email),
            ("SENDGRID_WEBHOOK_PUBLIC_KEY", SENDGRID_PUBLIC_KEY.to_owned()),
            ("LINK_SIGNING_KEYS", LINK_SIGNING_KEY.to_owned()),
            ("WEBHOOKS_URL", WEBHOOKS_URL.to_owned()),
            ("TWILIO_ACCOUNT_SID", account.account_sid),
            ("TWILIO_API_URL", self.server.url()),
            ("TWILIO_AUTH_TOKEN", account.auth_token),
            ("TWILIO_PHONE_NUMBER", account.phone_number),
        ]
    }
}
