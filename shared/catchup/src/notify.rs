//! Messages to people, each at most once.
//!
//! Every message carries notifications: what it is about. Before anything is sent, the ledger
//! (`jobs.notification_deliveries`) is asked for the claim to notify this person about them by this channel, and a claim
//! is granted once. So a crash, or an answer that never came, leaves a notification `unknown`: it is not sent again by
//! itself, and operators can list it ([`Deliveries::list_unknown`]). Only when a provider certainly did not take a
//! message is the claim released.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::db;
use shared::failure::Failure;
use shared::http;
use shared::job::{Context, Setup};
use shared::rate_limit::{Decision, Limit, Limiter, Plan};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::application::Application;
pub use crate::db::deliveries::{Channel, NotificationId};
use crate::db::deliveries::{Deliveries, DeliveryKey};
use crate::db::recipients::Contactable;
use crate::event::EventCode;
use crate::limits;
use crate::variables;

mod email;
mod exchange;
pub mod message;
mod result;
mod sendgrid;
pub mod sms;
mod smtp;
mod twilio;
pub mod zone;

use email::Mailer;
use message::{Frame, Notification};
pub use result::ProviderError;
use result::{SendError, SendResult};
use twilio::Twilio;
use zone::ReaderClock;

/// How long to wait for providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: giving up on one is safe.
    pub connect: Duration,
    /// For an answer: giving up on one leaves a message `unknown`.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(30) }
    }
}

/// Time that a message may take, its provider's silence included.
const SEND_BUDGET: Duration = Duration::from_secs(45);

/// Whether there is time to send another message. A job asks before each: one that is cut off stays `unknown`.
#[must_use]
pub fn has_time_to_send(context: &Context) -> bool {
    !context.is_cancelled() && context.time_left() >= SEND_BUDGET
}

/// Sends messages. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Notifier {
    inner: Arc<Inner>,
    /// Of one user; without one, each message acquires what it needs.
    plan: Option<(Uuid, Arc<Mutex<Plan<2>>>)>,
}

#[derive(Debug)]
struct Inner {
    deliveries: Deliveries,
    limiter: Limiter,
    clock: Clock,
    twilio: Twilio,
    mailer: Mailer,
    application: Application,
    postal_address: Option<String>,
}

/// Who is notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The user: limits and the ledger go by the person, not by numbers and addresses, which change.
    pub user_id: Uuid,
    /// Name of the account.
    pub name: Option<String>,
    /// The zone in which times are given; see [`zone::choose`].
    pub zone: Tz,
    /// The zone that the person lives in, as far as known.
    pub own_zone: Option<Tz>,
}

impl Recipient {
    /// The user, as the database has them.
    #[must_use]
    pub fn of(user_id: Uuid, person: &Contactable) -> Self {
        let (preferred, own) = (person.preferred_timezone.as_deref(), person.timezone.as_deref());
        Self {
            user_id,
            name: person.name.clone(),
            zone: zone::choose(user_id, preferred, own),
            own_zone: own.and_then(|name| name.parse().ok()),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// The provider took it.
    Sent {
        /// The provider's name for it.
        provider_id: String,
    },
    /// Nothing was left to tell: all notifications were claimed before, whatever became of that message.
    AlreadyClaimed,
    /// The provider will never take it for this recipient: an invalid number, an unsubscribed person. Recorded.
    Refused {
        /// The provider's code for it, such as `21610`.
        code: String,
    },
    /// It is unknown whether the provider took it. Recorded, and not sent again by itself.
    Unknown,
    /// A rate limit of ours, or of the provider's, is met: nothing was sent or claimed, and may be not before that time.
    LimitedUntil(DateTime<Utc>),
}

/// A message was not sent, and its notifications are free.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger failed; after the provider took the message this leaves it `unknown`.
    #[error("ledger of messages cannot be read or written")]
    Ledger(#[from] db::Error),
    /// The provider certainly did not take the message, for a reason that may pass or be put right.
    #[error("message was not taken by {provider}")]
    NotTaken {
        /// Who did not take it.
        provider: &'static str,
        /// Why.
        source: ProviderError,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Ledger(error) => error.into(),
            Error::NotTaken { .. } => Self::transient(error),
        }
    }
}

impl Notifier {
    /// Reads the providers' accounts and the application's address; all problems are reported together.
    pub fn new(setup: &mut Setup, timeouts: Timeouts) -> Result<Self, InvalidConfig> {
        let (deliveries, limiter, clock) = (Deliveries::new(setup), setup.limiter(), setup.clock());
        let config = setup.config();
        let http = http::client(timeouts.connect, timeouts.answer);
        let twilio = Twilio::from_config(config, http.clone());
        let mailer = Mailer::from_config(config, http, clock.clone(), timeouts);
        let application = Application::from_config(config);
        let postal_address = config.optional(&variables::POSTAL_ADDRESS);
        let inner = Inner {
            deliveries: deliveries?,
            limiter: limiter?,
            clock,
            twilio: twilio?,
            mailer: mailer?,
            application: application?,
            postal_address: postal_address?,
        };
        Ok(Self { inner: Arc::new(inner), plan: None })
    }

    /// A notifier of one task that expects to send a user so many messages: with the first that is sent, the limits of
    /// all are acquired.
    #[must_use]
    pub fn planning(&self, user_id: Uuid, emails: usize, texts: usize) -> Self {
        let calls = |messages: usize| u32::try_from(messages).unwrap_or(u32::MAX);
        let expected = [(&limits::EMAIL, calls(emails)), (&limits::SMS, calls(texts))];
        let plan = Plan::new(&self.inner.limiter, user_id, expected);
        Self { inner: Arc::clone(&self.inner), plan: Some((user_id, Arc::new(Mutex::new(plan)))) }
    }

    /// Notifies a person of one notification by text message, to an E.164 number.
    ///
    /// Cancelled while under way, the message may stay `unknown`.
    pub async fn send_sms<S: Notification>(
        &self,
        recipient: &Recipient,
        number: &str,
        notification: &S,
    ) -> Result<Delivery, Error> {
        let inner = &self.inner;
        let notifications = [notification.id().to_string()].into();
        let claimed = match self.claim(recipient.user_id, Channel::Sms, notifications).await? {
            Claim::Granted(claimed) => claimed,
            Claim::Not(delivery) => return Ok(delivery),
        };
        let sms = S::sms(&[notification], &inner.frame(recipient));
        let answer = inner.twilio.send(number, &sms).await;
        inner.settle(&claimed, Twilio::NAME, answer).await
    }

    /// Notifies a person of several notifications in one e-mail: of those that no e-mail was about before.
    ///
    /// Cancelled while under way, the message may stay `unknown`.
    pub async fn send_email<S: Notification>(
        &self,
        recipient: &Recipient,
        address: &str,
        notifications: &[S],
    ) -> Result<Delivery, Error> {
        let inner = &self.inner;
        let name = |notification: &S| notification.id().to_string();
        let asked = notifications.iter().map(name).collect();
        let claimed = match self.claim(recipient.user_id, Channel::Email, asked).await? {
            Claim::Granted(claimed) => claimed,
            Claim::Not(delivery) => return Ok(delivery),
        };
        let included: Vec<&S> = notifications
            .iter()
            .filter(|notification| claimed.notifications.contains(&name(notification)))
            .collect();
        let email = S::email(&included, &inner.frame(recipient));
        let answer = inner.mailer.send(address, &email).await;
        inner.settle(&claimed, inner.mailer.name(), answer).await
    }
}

/// Whether a message may be sent.
enum Claim {
    /// About these notifications, and no other task may.
    Granted(DeliveryKey),
    Not(Delivery),
}

impl Notifier {
    async fn claim(
        &self,
        user_id: Uuid,
        channel: Channel,
        notifications: Vec<String>,
    ) -> Result<Claim, Error> {
        let inner = &self.inner;
        let asked = DeliveryKey { user_id, channel, notifications };
        // A task that is rescheduled must not spend the person's limits on what it sent before.
        let notifications = inner.deliveries.unclaimed(&asked).await?;
        if notifications.is_empty() {
            return Ok(Claim::Not(Delivery::AlreadyClaimed));
        }
        if let Decision::LimitedUntil(until) = self.acquire(user_id, channel_limit(channel)).await {
            return Ok(Claim::Not(Delivery::LimitedUntil(until)));
        }
        let free = DeliveryKey { notifications, ..asked };
        let notifications = inner.deliveries.claim(&free, inner.clock.now()).await?;
        if notifications.is_empty() {
            return Ok(Claim::Not(Delivery::AlreadyClaimed));
        }
        Ok(Claim::Granted(DeliveryKey { notifications, ..free }))
    }

    async fn acquire(&self, user_id: Uuid, limit: &'static Limit) -> Decision {
        match &self.plan {
            Some((planned_for, plan)) if *planned_for == user_id => plan.lock().await.acquire(limit).await,
            Some(_) | None => self.inner.limiter.acquire(limit, user_id).await,
        }
    }
}

impl Inner {
    fn frame(&self, recipient: &Recipient) -> Frame {
        Frame {
            name: recipient.name.clone(),
            clock: ReaderClock::new(recipient.zone, recipient.own_zone),
            now: self.clock.now(),
            suggestions_url: self.application.suggestions(),
            preferences_url: self.application.preferences(),
            unsubscribe_url: None,
            postal_address: self.postal_address.clone(),
            is_first_text: false,
        }
    }

    /// Writes into the ledger what the provider said, and says what that means.
    async fn settle(
        &self,
        claimed: &DeliveryKey,
        provider: &'static str,
        answer: SendResult,
    ) -> Result<Delivery, Error> {
        let now = self.clock.now();
        let (user_id, channel) = (claimed.user_id, claimed.channel.as_str());
        match answer {
            Ok(provider_id) => {
                let recorded = self.deliveries.mark_sent(claimed, provider, &provider_id, now).await;
                if recorded.is_err() {
                    // What an operator needs to settle by hand what stays unknown.
                    tracing::error!(
                        event = %EventCode::DeliveryNotRecorded,
                        %user_id,
                        channel,
                        provider,
                        provider_id,
                        "message sent, but not recorded"
                    );
                }
                recorded?;
                Ok(Delivery::Sent { provider_id })
            }
            Err(SendError::Refused(code)) => {
                tracing::info!(%user_id, channel, provider, code, "a message was refused for good");
                self.deliveries.mark_refused(claimed, provider, &code, now).await?;
                Ok(Delivery::Refused { code })
            }
            Err(SendError::Limited(wait)) => {
                self.deliveries.release(claimed).await?;
                Ok(Delivery::LimitedUntil(now + wait))
            }
            Err(SendError::NotTaken(source)) => {
                self.deliveries.release(claimed).await?;
                Err(Error::NotTaken { provider, source })
            }
            Err(SendError::Unknown(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    event = %EventCode::DeliveryUnknown,
                    %user_id,
                    channel,
                    provider,
                    error,
                    "delivery status unknown"
                );
                Ok(Delivery::Unknown)
            }
        }
    }
}

fn channel_limit(channel: Channel) -> &'static Limit {
    match channel {
        Channel::Sms => &limits::SMS,
        Channel::Email => &limits::EMAIL,
    }
}
