//! The provider of e-mail that the configuration chose.

use lettre::address::Address;
use shared::clock::Clock;
use shared::config::{Config, InvalidConfig, Variable};
use uuid::Uuid;

use super::Timeouts;
use super::message::Email;
use super::result::SendResult;
use super::sendgrid::SendGrid;
use super::smtp::Smtp;
use crate::variables;

/// The sender of e-mails, in addition to the address.
pub(super) const SENDER_NAME: &str = "CatchUp";

/// What travels with an e-mail besides what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracking<'a> {
    /// Our id of the message.
    pub(super) message_id: Uuid,
    /// Where its list is left with one click (RFC 8058).
    pub(super) unsubscribe_url: &'a str,
}

/// RFC 2369, and RFC 8058 for the one click that needs no page.
pub(super) const LIST_UNSUBSCRIBE: &str = "List-Unsubscribe";
pub(super) const LIST_UNSUBSCRIBE_POST: (&str, &str) =
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click");

impl Tracking<'_> {
    /// The value of [`LIST_UNSUBSCRIBE`].
    pub(super) fn list_unsubscribe(self) -> String {
        format!("<{}>", self.unsubscribe_url)
    }
}

#[derive(Debug, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
enum Provider {
    #[strum(serialize = "sendgrid")]
    SendGrid,
    Smtp,
}

/// The e-mail provider.
#[derive(Debug)]
pub(super) enum Mailer {
    SendGrid(SendGrid),
    Smtp(Box<Smtp>),
}

impl Mailer {
    pub(super) fn from_config(
        config: &mut Config,
        http: reqwest::Client,
        clock: Clock,
        timeouts: Timeouts,
    ) -> Result<Self, InvalidConfig> {
        match config.required(&variables::EMAIL_PROVIDER)? {
            Provider::SendGrid => SendGrid::from_config(config, http).map(Self::SendGrid),
            Provider::Smtp => {
                Smtp::from_config(config, clock, timeouts).map(|smtp| Self::Smtp(Box::new(smtp)))
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::SendGrid(_) => SendGrid::NAME,
            Self::Smtp(_) => Smtp::NAME,
        }
    }

    /// Sends an e-mail to one address.
    pub(super) async fn send(&self, to: &str, tracking: Tracking<'_>, email: &Email) -> SendResult {
        match self {
            Self::SendGrid(sendgrid) => sendgrid.send(to, tracking, email).await,
            // Large, and rarely the one that runs.
            Self::Smtp(smtp) => Box::pin(smtp.send(to, tracking, email)).await,
        }
    }
}

/// Checks the address that e-mail comes from, as its provider does before its first message.
pub(super) fn check_sender(config: &mut Config) -> Result<(), InvalidConfig> {
    let variable = match config.required(&variables::EMAIL_PROVIDER)? {
        Provider::SendGrid => &variables::SENDGRID_FROM_EMAIL,
        Provider::Smtp => &variables::SMTP_FROM_EMAIL,
    };
    sender(config, variable).map(drop)
}

/// The address that e-mail comes from. One that is none, or that not every server can take, would be found only with the first
/// message.
pub(super) fn sender(config: &mut Config, variable: &Variable) -> Result<Address, InvalidConfig> {
    let address = config.required::<Address>(variable)?;
    if !AsRef::<str>::as_ref(&address).is_ascii() || !address.domain().contains('.') {
        return Err(config.problem(variable, "is no address that every mail server takes"));
    }
    Ok(address)
}
