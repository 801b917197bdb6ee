//! Keeps every user's push channel open: a daily sweep finds those that end soon or are missing, and a task a user
//! replaces them.
//!
//! A channel watches the user's primary calendar. The new one is open before the old one is stopped, so that no change goes
//! unnoticed. Notifications that are under way when the one takes the other's place are refused, and a broken channel has
//! lost some before: a sync follows.

use serde::Serialize;
use shared::config::{Incomplete, variables};
use shared::db::Db;
use shared::db::circuit_breaker::{Admission, Entry, Refusal};
use shared::google::{Calendar, Error, TokenError, Tokens};
use shared::http;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{self, Integration, Payload, RenewalReason};
use shared::queue::Queue;
use shared::rate_limit::Limiter;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use shared::telemetry::EventCode;
use shared::webhooks;
use url::Url;
use uuid::Uuid;

mod replace;

use replace::{Replacement, Stop};

const QUEUE: Queue = <payload::WebhookRenewal as Payload>::QUEUE;

/// A sweep with a larger share of failed renewals than this is an alert.
const HIGH_FAILURE_RATE: f64 = 0.05;

/// Replaces push channels, and finds those that are due.
pub struct WebhookRenewal {
    db: Db,
    tasks: Tasks,
    tokens: Tokens,
    calendar: Calendar,
    limiter: Limiter,
    /// Where Google sends notifications.
    address: Url,
}

/// What is to be done about a user's channels, besides stopping strays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The user needs another channel than the present one, or a first one.
    Channel,
    /// An earlier attempt of this task has opened the present one, and may have ended right after.
    Rest,
    /// Nothing.
    Nothing,
}

/// What became of a user's channels.
#[derive(Debug, Clone, Copy, Serialize)]
struct Renewed {
    /// A new channel was opened in this run.
    opened: bool,
    /// Channels that were stopped in this run.
    stopped: u32,
}

impl Job for WebhookRenewal {
    type Payload = payload::WebhookRenewal;

    fn new(setup: &mut Setup) -> Result<Self, Incomplete> {
        let (db, tasks, tokens) = (setup.db(), setup.tasks(), setup.tokens());
        let (calendar, limiter, address) = (setup.calendar(), setup.limiter(), address(setup));
        Ok(Self {
            db: db?,
            tasks: tasks?,
            tokens: tokens?,
            calendar: calendar?,
            limiter: limiter?,
            address: address?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.user_id {
            Some(user_id) => {
                let swept = payload.position.sweep_id.as_ref().map(|_| user_id);
                let run = self.renew(user_id, &payload, context);
                sweep::user_task(&self.db, QUEUE, swept, context, run).await
            }
            None => self.sweep(&payload, context).await,
        }
    }
}

/// Notifications carry the channel's token.
fn address(setup: &mut Setup) -> Result<Url, Incomplete> {
    let variable = &variables::CALENDAR_WEBHOOK_URL;
    let url = setup.config().required::<Url>(variable)?;
    if !http::is_safe_for_credentials(&url) {
        return Err(setup.config().problem(variable, "is neither https nor on loopback"));
    }
    Ok(url)
}

impl WebhookRenewal {
    async fn sweep(&self, payload: &payload::WebhookRenewal, context: &Context) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(&payload.position, context);
        if !sweep.begin(&self.db, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let due = self.db.channels_due(context.now(), sweep.after, sweep::PAGE).await?;
        let user = |user_id| payload::WebhookRenewal {
            user_id: Some(user_id),
            reason: None,
            position: sweep.origin(),
        };
        let rest = |position| payload::WebhookRenewal { position, ..payload::WebhookRenewal::default() };
        sweep.fan_out(&self.db, &self.tasks, due, user, rest).await
    }

    async fn renew(
        &self,
        user_id: Uuid,
        payload: &payload::WebhookRenewal,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let (integration, now) = (Integration::GoogleCalendar, context.now());
        let admitted = match self.db.admit_sync(user_id, integration, Entry::First, now).await? {
            Admission::Admitted(admitted) => admitted,
            Admission::Refused(refusal) => return Ok(Outcome::Skipped(refusal.code())),
        };
        let outcome = match self.need(user_id, payload, context).await {
            Ok(need) => self.replace(user_id, need, payload, context).await,
            Err(error) => Err(error),
        };
        // A renewal is no sync: it goes through a half-open breaker as one does, and leaves it as it was.
        self.db.sync_ended(user_id, integration, &admitted, context.now()).await;
        outcome
    }

    async fn need(
        &self,
        user_id: Uuid,
        payload: &payload::WebhookRenewal,
        context: &Context,
    ) -> Result<Need, Failure> {
        let now = context.now();
        let Some(channel) = self.db.user_channel(user_id).await? else { return Ok(Need::Channel) };
        if channel.opened_by.as_ref() == Some(&context.key) {
            return Ok(Need::Rest);
        }
        let is_due = match (payload.reason, &payload.position.sweep_id) {
            // Replaced since it was found broken.
            (Some(RenewalReason::Stale), _) => channel.ends_soon(now) || !channel.is_young(now),
            (None, Some(_)) => channel.ends_soon(now),
            // Whoever asks for one user's channel wants a new one.
            (None, None) | (Some(RenewalReason::Other), _) => true,
        };
        Ok(if is_due { Need::Channel } else { Need::Nothing })
    }

    async fn replace(
        &self,
        user_id: Uuid,
        need: Need,
        payload: &payload::WebhookRenewal,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        if need == Need::Nothing && self.db.stray_channels(user_id).await?.is_empty() {
            return Ok(Outcome::Skipped("not_due"));
        }
        let mut replacement = match Replacement::begin(self, user_id, context).await {
            Ok(replacement) => replacement,
            Err(stop) => return self.settle_failure(user_id, payload, stop, context).await,
        };
        let opened = need == Need::Channel;
        if opened && let Err(stop) = replacement.open().await {
            return self.settle_failure(user_id, payload, stop, context).await;
        }
        if need != Need::Nothing {
            webhooks::ask_for_sync(&self.tasks, user_id).await?;
        }
        let result = replacement.stop_strays().await;
        let renewed = Renewed { opened, stopped: replacement.stopped };
        match result {
            Ok(()) => {}
            Err(Stop::Wait(until)) => return Ok(Outcome::Snooze(until)),
            // The user has a channel; what is left is stray, and the next sweep's.
            Err(Stop::Google(error)) if context.last_attempt => {
                tracing::warn!(%user_id, error = &error as &dyn std::error::Error, "a channel was not stopped");
            }
            Err(Stop::Google(error)) => return Err(error.into()),
            Err(Stop::Database(error)) => return Err(error.into()),
        }
        self.count(payload, true, context).await?;
        Ok(Outcome::done(renewed))
    }

    /// The user has no new channel.
    async fn settle_failure(
        &self,
        user_id: Uuid,
        payload: &payload::WebhookRenewal,
        stop: Stop,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let error = match stop {
            Stop::Wait(until) => return Ok(Outcome::Snooze(until)),
            Stop::Database(error) => return Err(error.into()),
            Stop::Google(error) => error,
        };
        match error {
            Error::Token(TokenError::Revoked) => Ok(Outcome::Skipped(Refusal::TokenRevoked.code())),
            Error::Token(TokenError::NotConnected) => Ok(Outcome::Skipped(Refusal::NotConnected.code())),
            // An account without Calendar; nothing that another attempt could change.
            Error::NotFound | Error::Forbidden { .. } => {
                tracing::warn!(%user_id, %error, "a user has no calendar to watch");
                self.db.poll_without_channel(user_id, context.now()).await?;
                Ok(Outcome::Skipped("no_calendar"))
            }
            error => {
                let failure = Failure::from(error);
                if context.last_attempt || matches!(failure, Failure::Permanent(_)) {
                    self.db.poll_without_channel(user_id, context.now()).await?;
                    self.count(payload, false, context).await?;
                }
                Err(failure)
            }
        }
    }

    /// Counts the end of a task for the sweep that created it, if one did.
    async fn count(
        &self,
        payload: &payload::WebhookRenewal,
        succeeded: bool,
        context: &Context,
    ) -> Result<(), Failure> {
        let Some(sweep_id) = &payload.position.sweep_id else { return Ok(()) };
        let (good, bad) = if succeeded { (1, 0) } else { (0, 1) };
        let is_high =
            self.db.sweep_result(QUEUE, sweep_id, good, bad, HIGH_FAILURE_RATE, context.now()).await?;
        if is_high {
            tracing::error!(event = %EventCode::ManyFailedRenewals, sweep_id, "too many renewals failed");
        }
        Ok(())
    }
}
