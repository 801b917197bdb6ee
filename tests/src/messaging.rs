//! Twilio and `SendGrid` next to a stack, and the inbox of everybody.

use local_cloud::Background;
use local_cloud::stack::serve_messaging;
use messaging_stand_in::{Config, Inbox};

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

    /// What a function's environment says about messages.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 8] {
        let account = Config::default();
        [
            ("APP_BASE_URL", "https://app.example.test".to_owned()),
            ("SENDGRID_API_KEY", account.api_key),
            ("SENDGRID_API_URL", self.server.url()),
            ("SENDGRID_FROM_EMAIL", account.from_email),
            ("TWILIO_ACCOUNT_SID", account.account_sid),
            ("TWILIO_API_URL", self.server.url()),
            ("TWILIO_AUTH_TOKEN", account.auth_token),
            ("TWILIO_PHONE_NUMBER", account.phone_number),
        ]
    }
}
