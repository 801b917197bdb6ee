//! Messages to people, each at most once.
//!
//! Every message carries notifications: what it is about. Before anything is sent, the ledger
//! (`jobs.notification_deliveries`) is asked for the claim to notify this person about them by this channel, and a claim
//! is granted once. So a crash, or an answer that never came, leaves a notification `unknown`: it is not sent again by
//! itself, and operators can list it ([`Deliveries::list_unknown`]). Only when a provider certainly did not take a
//! message is the claim released.
//!
//! **Whose fault.** Booked on the recipient is only what concerns the recipient. What concerns the application or the provider
//! says nothing about the person: the claim is released, an event is logged, and the job sends it later
//! ([`Delivery::NotTaken`]). Five messages in a row without an answer open the provider's circuit breaker: the others wait, and
//! every few minutes one of them probes, so that an hour without answers leaves few of them `unknown`: only the probes, and what was
//! under way at the beginning.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use shared::clock::Clock;
use shared::config::{Config, InvalidConfig};
use shared::db;
use shared::http;
use shared::job::{Context, Setup};
use shared::rate_limit::{Decision, Limit, Limiter, Plan};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::application::Application;
pub use crate::db::deliveries::{Channel, NotificationId};
use crate::db::deliveries::{Deliveries, DeliveryKey, Unclaimed};
use crate::db::opt_outs::OptOuts;
use crate::db::recipients::Contactable;
use crate::limits;
use crate::links::{Link, Links};
use crate::variables;

mod email;
mod exchange;
pub mod message;
pub mod quiet_hours;
mod result;
mod retry;
mod sendgrid;
mod settle;
pub mod sms;
mod smtp;
mod twilio;
pub mod zone;

use email::{Mailer, Tracking};
use message::{Acts, Frame, InAppDigest, Notification, StillUseful};
pub use retry::Wait;
use twilio::Twilio;
use zone::ReaderClock;

/// Checks the addresses that messages come from, as a function does before it takes its first task.
pub fn check_senders(config: &mut Config) -> Result<(), InvalidConfig> {
    let texts = twilio::check_sender(config);
    email::check_sender(config).and(texts)
}

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

impl Timeouts {
    /// Time that a message may take, including the wait for a provider that does not answer: the longest way is that of SMTP. What follows in the ledger
    /// has [`SETTLING`].
    #[must_use]
    pub const fn send_budget(&self) -> Duration {
        smtp::longest_exchange(self).saturating_add(SETTLING)
    }
}

/// Time to record what the provider said.
const SETTLING: Duration = Duration::from_secs(5);

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
    opt_outs: OptOuts,
    limiter: Limiter,
    clock: Clock,
    twilio: Twilio,
    mailer: Mailer,
    application: Application,
    links: Links,
    postal_address: Option<String>,
    timeouts: Timeouts,
}

/// Who is notified.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The user: limits and the ledger go by the person, not by numbers and addresses, which change.
    pub user_id: Uuid,
    /// Name of the account.
    pub name: Option<String>,
    /// The zone in which times are given; see [`zone::choose`].
    pub zone: Tz,
    /// The zone that the person lives in, as far as known.
    pub own_zone: Option<Tz>,
    /// A text message to this number would be the first.
    pub is_first_text: bool,
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
            is_first_text: !person.was_texted,
        }
    }
}

/// Without the person's name.
impl fmt::Debug for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recipient").field("user_id", &self.user_id).finish_non_exhaustive()
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
    /// The recipient's own limit is met: nothing was sent or claimed, and may be not before that time.
    LimitedUntil(DateTime<Utc>),
    /// The provider certainly did not take it, for a reason that does not concern the recipient: its limit, an outage, or a
    /// refusal of the application. The notifications are free; see [`Wait::for_retry`].
    NotTaken {
        /// Not before that time, if the provider said so.
        until: Option<DateTime<Utc>>,
    },
}

impl Notifier {
    /// Reads the providers' accounts and the application's address; all problems are reported together.
    pub fn new(setup: &mut Setup, timeouts: Timeouts) -> Result<Self, InvalidConfig> {
        let (deliveries, opt_outs) = (Deliveries::new(setup), OptOuts::new(setup));
        let (limiter, clock) = (setup.limiter(), setup.clock());
        let config = setup.config();
        let http = http::client(timeouts.connect, timeouts.answer);
        let twilio = Twilio::from_config(config, http.clone());
        let mailer = Mailer::from_config(config, http, clock.clone(), timeouts);
        let application = Application::from_config(config);
        let links = Links::from_config(config);
        let postal_address = config.optional(&variables::POSTAL_ADDRESS);
        let inner = Inner {
            deliveries: deliveries?,
            opt_outs: opt_outs?,
            limiter: limiter?,
            clock,
            twilio: twilio?,
            mailer: mailer?,
            application: application?,
            links: links?,
            postal_address: postal_address?,
            timeouts,
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

    /// The question whether suggestions are still useful, after that one.
    #[must_use]
    pub fn still_useful(&self, suggestion: Uuid) -> StillUseful {
        let yes_url = self.inner.links.url(Link::StillUseful { suggestion });
        StillUseful { last_suggestion_id: suggestion, yes_url }
    }

    /// The links with which the reader of a message says what becomes of a suggestion.
    #[must_use]
    pub fn acts(&self, suggestion: Uuid) -> Acts {
        let url = |link| self.inner.links.url(link);
        Acts {
            met_url: url(Link::WeMet { suggestion }),
            not_now_url: url(Link::NotNow { suggestion }),
            never_url: url(Link::Never { suggestion }),
        }
    }

    /// What the application shows of suggestions to a person whom no message reaches.
    #[must_use]
    pub fn in_app(&self, recipient: &Recipient, suggestions: &[message::Suggestion]) -> InAppDigest {
        let clock = ReaderClock::new(recipient.zone, recipient.own_zone);
        InAppDigest::new(suggestions, clock, self.inner.application.suggestions())
    }

    /// Whether there is time to send another message. A job asks before each: one that is cut off stays `unknown`.
    #[must_use]
    pub fn has_time_to_send(&self, context: &Context) -> bool {
        !context.is_cancelled() && context.time_left() >= self.inner.timeouts.send_budget()
    }

    /// Notifies a person of several notifications in one message: of those that no message of this channel was about
    /// before. `address` is an E.164 number or an e-mail address, as the channel needs.
    ///
    /// Cancelled while under way, the message may stay `unknown`.
    ///
    /// # Errors
    /// When the ledger cannot be read or written; after the provider took the message this leaves it `unknown`.
    pub async fn send<S: Notification>(
        &self,
        recipient: &Recipient,
        channel: Channel,
        address: &str,
        notifications: &[S],
    ) -> Result<Delivery, db::Error> {
        let inner = &self.inner;
        let name = |notification: &S| notification.id().to_string();
        let asked = notifications.iter().map(name).collect();
        let claimed = match self.claim(recipient.user_id, channel, address, asked).await? {
            Claim::Granted(claimed) => claimed,
            Claim::Not(delivery) => return Ok(delivery),
        };
        let included: Vec<&S> = notifications
            .iter()
            .filter(|notification| claimed.key.notifications.contains(&name(notification)))
            .collect();
        let message_id = claimed.message_id;
        let frame = inner.frame(recipient, message_id);
        let (provider, answer) = match channel {
            Channel::Sms => {
                let (sms, status_url) =
                    (S::sms(&included, &frame), inner.links.twilio_status_url(message_id));
                (Twilio::NAME, inner.twilio.send(address, &sms, &status_url).await)
            }
            Channel::Email => {
                let tracking = Tracking { message_id, unsubscribe_url: &inner.unsubscribe_url(message_id) };
                let email = S::email(&included, &frame);
                (inner.mailer.name(), inner.mailer.send(address, tracking, &email).await)
            }
        };
        inner.settle(&claimed, provider, answer).await
    }
}

/// Whether a message may be sent.
enum Claim {
    /// About these notifications, and no other task may.
    Granted(Claimed),
    Not(Delivery),
}

/// A message that is about to be sent.
struct Claimed {
    key: DeliveryKey,
    /// Travels with the message, so that what the provider reports later finds it.
    message_id: Uuid,
    /// The provider left the last one unanswered.
    has_breaker: bool,
}

impl Notifier {
    async fn claim(
        &self,
        user_id: Uuid,
        channel: Channel,
        address: &str,
        notifications: Vec<String>,
    ) -> Result<Claim, db::Error> {
        let inner = &self.inner;
        let asked = DeliveryKey { user_id, channel, notifications };
        // A task that is rescheduled must not spend the person's limits on what it sent before.
        let Unclaimed { notifications, breaker } = inner.deliveries.unclaimed(&asked).await?;
        if notifications.is_empty() {
            return Ok(Claim::Not(Delivery::AlreadyClaimed));
        }
        let now = inner.clock.now();
        if let Some(until) = breaker.and_then(|breaker| breaker.open_until(now)) {
            return Ok(Claim::Not(Delivery::NotTaken { until: Some(until) }));
        }
        if let Decision::LimitedUntil(until) = self.acquire(user_id, channel_limit(channel)).await {
            return Ok(Claim::Not(Delivery::LimitedUntil(until)));
        }
        if breaker.is_some_and(|breaker| breaker.has_opened())
            && let Some(until) = inner.deliveries.begin_probe(channel, now).await?
        {
            return Ok(Claim::Not(Delivery::NotTaken { until: Some(until) }));
        }
        let free = DeliveryKey { notifications, ..asked };
        let message_id = Uuid::new_v4();
        let notifications = inner.deliveries.claim(&free, message_id, address, now).await?;
        if notifications.is_empty() {
            return Ok(Claim::Not(Delivery::AlreadyClaimed));
        }
        let key = DeliveryKey { notifications, ..free };
        Ok(Claim::Granted(Claimed { key, message_id, has_breaker: breaker.is_some() }))
    }

    async fn acquire(&self, user_id: Uuid, limit: &'static Limit) -> Decision {
        match &self.plan {
            Some((planned_for, plan)) if *planned_for == user_id => plan.lock().await.acquire(limit).await,
            Some(_) | None => self.inner.limiter.acquire(limit, user_id).await,
        }
    }
}

impl Inner {
    fn unsubscribe_url(&self, message: Uuid) -> String {
        self.links.url(Link::Unsubscribe { message })
    }

    fn frame(&self, recipient: &Recipient, message_id: Uuid) -> Frame {
        Frame {
            name: recipient.name.clone(),
            clock: ReaderClock::new(recipient.zone, recipient.own_zone),
            now: self.clock.now(),
            suggestions_url: self.application.suggestions().to_owned(),
            preferences_url: self.application.preferences().to_owned(),
            unsubscribe_url: Some(self.unsubscribe_url(message_id)),
            postal_address: self.postal_address.clone(),
            is_first_text: recipient.is_first_text,
            takes_replies: self.twilio.takes_replies(),
        }
    }
}

/// When a message may go out: not in the quiet hours of the recipient, who perhaps has `chosen` a time of the day.
#[must_use]
pub fn may_send_at(
    channel: Channel,
    now: DateTime<Utc>,
    recipient: &Recipient,
    chosen: Option<NaiveTime>,
) -> DateTime<Utc> {
    quiet_hours::end(channel, now, recipient.zone, chosen)
}

fn channel_limit(channel: Channel) -> &'static Limit {
    match channel {
        Channel::Sms => &limits::SMS,
        Channel::Email => &limits::EMAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queues;

    #[test]
    fn a_run_has_time_for_a_message_to_the_slowest_provider() {
        let budget = Timeouts::default().send_budget();
        for queue in
            [queues::BATCH_NOTIFICATIONS, queues::NOTIFICATION_REMINDER, queues::TOKEN_HEALTH_REMINDER]
        {
            assert!(queue.policy().timeout() >= budget, "{}", queue.name());
        }
    }
}
