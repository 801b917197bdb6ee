//! The calls that replace one user's channel: the new one is opened and activated, then the old one is stopped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use catchup::db::webhook_channels::{NewChannel, OrphanedChannel};
use catchup::google::calendar::{ChannelRequest, PRIMARY};
use catchup::google::{Calls, Error, Stop};
use catchup::sync::schedule::WITH_PUSH_CHANNEL;
use chrono::TimeDelta;
use secrecy::SecretString;
use shared::job::Context;
use uuid::Uuid;

use crate::WebhookRenewal;

/// How long a channel lives: what Google grants by default.
const LIFETIME: TimeDelta = TimeDelta::days(7);
const TOKEN_BYTES: usize = 32;

/// One user's replacement.
pub(crate) struct Replacement<'a> {
    job: &'a WebhookRenewal,
    user_id: Uuid,
    context: &'a Context,
    calls: Calls<'a>,
    /// Channels stopped so far.
    pub(crate) stopped: u32,
}

impl<'a> Replacement<'a> {
    pub(crate) async fn begin(
        job: &'a WebhookRenewal,
        user_id: Uuid,
        context: &'a Context,
    ) -> Result<Self, Stop> {
        Ok(Self { job, user_id, context, calls: job.gate.calls(user_id, context).await?, stopped: 0 })
    }

    /// Opens a channel and makes it the user's.
    pub(crate) async fn open(&mut self) -> Result<(), Stop> {
        let access = self.calls.acquire().await?;
        let channels = &self.job.channels;
        let (id, token) = (Uuid::new_v4().to_string(), new_token());
        let now = self.context.now();
        let ends_at = now + LIFETIME;
        channels.record_intent(self.user_id, &id, &self.context.key, ends_at, now).await?;
        let request = ChannelRequest { id: &id, address: &self.job.address, token: &token, ends_at };
        let opened = match self.job.calendar.watch(access, PRIMARY, request).await {
            Ok(opened) => opened,
            Err(error) => {
                if !may_be_open(&error) {
                    channels.discard(&id).await?;
                }
                return Err(self.calls.stop(error));
            }
        };
        let channel = NewChannel {
            channel_id: &id,
            opened_by: &self.context.key,
            resource_id: &opened.resource_id,
            resource_uri: &opened.resource_uri,
            token: &token,
            ends_at: opened.ends_at,
        };
        Ok(channels.activate(self.user_id, &channel, WITH_PUSH_CHANNEL, self.context.now()).await?)
    }

    /// Stops all channels that are not the user's any more.
    pub(crate) async fn stop_orphaned(&mut self) -> Result<(), Stop> {
        let orphaned_channels = self.job.channels.orphaned(self.user_id).await?;
        self.calls.expect(u32::try_from(orphaned_channels.len()).unwrap_or(u32::MAX));
        for channel in orphaned_channels {
            self.stop_channel(&channel).await?;
            self.job.channels.mark_stopped(&channel.channel_id).await?;
            self.stopped += 1;
        }
        Ok(())
    }

    async fn stop_channel(&mut self, channel: &OrphanedChannel) -> Result<(), Stop> {
        let access = self.calls.acquire().await?;
        match self.job.calendar.stop(access, &channel.channel_id, &channel.resource_id).await {
            Ok(()) | Err(Error::NotFound) => Ok(()),
            // Opened by another account or application: it ends by itself, and its notifications are refused.
            Err(error @ (Error::Forbidden { .. } | Error::Refused { .. })) => {
                tracing::warn!(user_id = %self.user_id, %error, "channel belongs to another client and was not stopped");
                Ok(())
            }
            Err(error) => Err(self.calls.stop(error)),
        }
    }
}

/// What Google shows with each notification: 32 random bytes.
fn new_token() -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()))
}

/// Whether Google may have opened a channel although the call failed.
fn may_be_open(error: &Error) -> bool {
    match error {
        Error::Timeout
        | Error::Transport(_)
        | Error::Unavailable(_)
        | Error::Truncated
        | Error::TooLarge
        | Error::Garbage(_) => true,
        Error::Token(_)
        | Error::Unauthorized
        | Error::Limited { .. }
        | Error::SyncTokenExpired
        | Error::MissingScope
        | Error::NoCalendarAccount
        | Error::ApiDisabled
        | Error::AddressRefused { .. }
        | Error::NotFound
        | Error::Forbidden { .. }
        | Error::Refused { .. }
        | Error::Client(_) => false,
    }
}
