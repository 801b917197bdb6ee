//! What the provider said of a message becomes what the ledger says, and an event for who looks after the providers.

use shared::db;

use super::result::{ProviderError, SendError, SendResult};
use super::{Claimed, Delivery, Inner};
use crate::db::opt_outs::{List, OptOut, Reason};
use crate::event::EventCode;

impl Inner {
    /// Writes into the ledger what the provider said, and says what that means.
    pub(super) async fn settle(
        &self,
        claimed: &Claimed,
        provider: &'static str,
        answer: SendResult,
    ) -> Result<Delivery, db::Error> {
        let now = self.clock.now();
        let (user_id, channel) = (claimed.key.user_id, claimed.key.channel.as_str());
        let message_id = claimed.message_id;
        match answer {
            Ok(provider_id) => {
                let recorded = self.deliveries.mark_sent(message_id, provider, &provider_id, now).await;
                if recorded.is_err() {
                    // What an operator needs to settle by hand what stays unknown.
                    tracing::error!(
                        event = %EventCode::DeliveryNotRecorded,
                        %user_id,
                        channel,
                        provider,
                        provider_id,
                        %message_id,
                        "message sent, but not recorded"
                    );
                }
                recorded?;
                tracing::info!(
                    event = %EventCode::MessageTaken,
                    %user_id,
                    channel,
                    provider,
                    %message_id,
                    "a provider took a message"
                );
                Ok(Delivery::Sent { provider_id })
            }
            Err(SendError::Refused(code)) => {
                tracing::info!(
                    event = %EventCode::MessageRefused,
                    %user_id,
                    channel,
                    provider,
                    code,
                    %message_id,
                    "a message was refused for good"
                );
                self.deliveries.mark_refused(message_id, provider, &code, now).await?;
                Ok(Delivery::Refused { code })
            }
            Err(SendError::OptedOut(code)) => {
                tracing::info!(%user_id, channel, provider, code, %message_id, "the recipient has left");
                // First: what fails behind it is not run again, once the message counts as refused.
                let opt_out = OptOut {
                    channel: claimed.key.channel,
                    lists: &List::ALL,
                    reason: Reason::Stop,
                    callback: None,
                };
                self.opt_outs.opt_out(user_id, opt_out, now).await?;
                self.deliveries.mark_refused(message_id, provider, &code, now).await?;
                Ok(Delivery::Refused { code })
            }
            Err(SendError::Limited(wait)) => {
                self.deliveries.release(message_id).await?;
                Ok(Delivery::NotTaken { until: Some(now + wait) })
            }
            Err(SendError::NotTaken(error)) => {
                self.deliveries.release(message_id).await?;
                not_taken(&error, channel, provider);
                Ok(Delivery::NotTaken { until: None })
            }
            Err(SendError::Unknown(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    event = %EventCode::DeliveryUnknown,
                    %user_id,
                    channel,
                    provider,
                    error,
                    %message_id,
                    "delivery status unknown"
                );
                Ok(Delivery::Unknown)
            }
        }
    }
}

/// Whose fault it is, by event.
fn not_taken(error: &ProviderError, channel: &'static str, provider: &'static str) {
    let event = match error {
        ProviderError::Refused { .. } => EventCode::ApplicationRefused,
        ProviderError::Unreachable(_)
        | ProviderError::Timeout
        | ProviderError::Broken(_)
        | ProviderError::Unavailable(_)
        | ProviderError::Garbage => EventCode::ProviderUnavailable,
    };
    let error = error as &dyn std::error::Error;
    tracing::error!(%event, channel, provider, error, "a provider did not take a message, which is sent later");
}
