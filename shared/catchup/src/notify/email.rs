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

    /// Sends an e-mail to one address; our id of the message travels with it.
    pub(super) async fn send(&self, to: &str, message_id: Uuid, email: &Email) -> SendResult {
        match self {
            Self::SendGrid(sendgrid) => sendgrid.send(to, message_id, email).await,
            // Large, and rarely the one that runs.
            Self::Smtp(smtp) => Box::pin(smtp.send(to, message_id, email)).await,
        }
    }
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
