//! The provider of e-mail that the configuration chose.

use shared::clock::Clock;
use shared::config::{Config, InvalidConfig};

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

    /// Sends an e-mail to one address.
    pub(super) async fn send(&self, to: &str, email: &Email) -> SendResult {
        match self {
            Self::SendGrid(sendgrid) => sendgrid.send(to, email).await,
            // Large, and rarely the one that runs.
            Self::Smtp(smtp) => Box::pin(smtp.send(to, email)).await,
        }
    }
}
