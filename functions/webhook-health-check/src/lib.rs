//! Finds push channels that silently stopped working: a sweep creates a task for each stale candidate, and the task
//! asks Google once whether there was something to say.
//!
//! A suspect is a channel of at least two days that said nothing for two days. Most are quiet because their calendars are.

use catchup::db::webhook_channels::Channels;
use catchup::event::EventCode;
use catchup::google::calendar::{CHANGES_KEPT, PRIMARY};
use catchup::google::{Calendar, Error, Session, TokenError, Tokens};
use catchup::limits;
use catchup::payload::{self, Integration, RenewalReason, WebhookRenewal};
use catchup::sync::{Admission, Ended, Entry, Refusal, Syncs};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::Queue;
use shared::rate_limit::{Decision, Limiter};
use shared::sweep::{self, Sweep};
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

const QUEUE: Queue = <payload::WebhookHealthCheck as Payload>::QUEUE;

/// A sweep in which a larger share of the channels that were checked is broken is an alert.
const HIGH_BROKEN_RATE: f64 = 0.2;

/// More than Google's clock and ours, and the way of a notification, come to: what Google dates so soon after the last
/// notification may be what caused that one.
const CLOCK_DIFFERENCE: TimeDelta = TimeDelta::minutes(1);

/// Finds quiet channels, and checks them.
pub struct WebhookHealthCheck {
    channels: Channels,
    syncs: Syncs,
    sweeps: Sweeps,
    tasks: Tasks,
    tokens: Tokens,
    calendar: Calendar,
    limiter: Limiter,
}

/// What the check of a candidate showed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Checked {
    /// Something happened that the channel did not tell: it will be replaced.
    broken: bool,
}

impl Job for WebhookHealthCheck {
    type Payload = payload::WebhookHealthCheck;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (channels, syncs, sweeps) = (Channels::new(setup), Syncs::new(setup), setup.sweeps());
        let (tasks, tokens) = (setup.tasks(), Tokens::new(setup));
        let (calendar, limiter) = (Calendar::new(setup), setup.limiter());
        Ok(Self {
            channels: channels?,
            syncs: syncs?,
            sweeps: sweeps?,
            tasks: tasks?,
            tokens: tokens?,
            calendar: calendar?,
            limiter: limiter?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.user_id {
            Some(user_id) => {
                let swept = payload.position.sweep_id.as_ref().map(|_| user_id);
                let run = self.look_at(user_id, &payload, context);
                sweep::user_task(&self.sweeps, QUEUE, swept, context, run).await
            }
            None => self.sweep(&payload, context).await,
        }
    }
}

impl WebhookHealthCheck {
    async fn sweep(
        &self,
        payload: &payload::WebhookHealthCheck,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(&payload.position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let now = context.now();
        if payload.position.cursor.is_none() {
            let ending = self.channels.count_ending(now).await?;
            tracing::info!(sweep_id = sweep.id, ending, "channels that end within a day");
        }
        let candidates = self.channels.stale_candidates(now, sweep.after, sweep::PAGE).await?;
        let user = |user_id| payload::WebhookHealthCheck { user_id: Some(user_id), position: sweep.origin() };
        let rest = |position| payload::WebhookHealthCheck { user_id: None, position };
        sweep.fan_out(&self.sweeps, &self.tasks, candidates, user, rest).await
    }

    async fn look_at(
        &self,
        user_id: Uuid,
        payload: &payload::WebhookHealthCheck,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let (integration, now) = (Integration::GoogleCalendar, context.now());
        let Some(quiet_since) = self.channels.quiet_since(user_id, now).await? else {
            return Ok(Outcome::Skipped("no_suspect"));
        };
        // A check is no sync: like a sync it may pass a half-open breaker, but it leaves the breaker as it was.
        let look = |admission| async move {
            match admission {
                Admission::Admitted(_) => self.ask(user_id, payload, quiet_since, context).await,
                Admission::Refused(refusal) => Ok(Outcome::Skipped(refusal.code())),
            }
            .map(Ended::Here)
        };
        self.syncs.run(user_id, integration, Entry::First, || context.now(), look).await
    }

    async fn ask(
        &self,
        user_id: Uuid,
        payload: &payload::WebhookHealthCheck,
        quiet_since: DateTime<Utc>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        if let Decision::LimitedUntil(until) = self.limiter.acquire(&limits::GOOGLE_CALENDAR, user_id).await {
            return Ok(Outcome::Snooze(until));
        }
        let now = context.now();
        match self.has_changed(user_id, quiet_since, now).await {
            Ok(broken) => self.settle(user_id, payload, broken, context).await,
            Err(Error::Limited { retry_after }) => Ok(Outcome::Snooze(now + retry_after)),
            Err(Error::Token(TokenError::Revoked)) => Ok(Outcome::Skipped(Refusal::TokenRevoked.code())),
            Err(Error::Token(TokenError::NotConnected)) => Ok(Outcome::Skipped(Refusal::NotConnected.code())),
            // An account without Calendar; nothing that another attempt could change.
            Err(error @ (Error::NotFound | Error::Forbidden { .. })) => {
                tracing::warn!(%user_id, %error, "user has no calendar to check");
                Ok(Outcome::Skipped("no_calendar"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn has_changed(
        &self,
        user_id: Uuid,
        quiet_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let mut session = Session::begin(&self.tokens, user_id, Integration::GoogleCalendar).await?;
        let since = (quiet_since + CLOCK_DIFFERENCE).max(now - CHANGES_KEPT);
        self.calendar.changed_since(&mut session, PRIMARY, since).await
    }

    async fn settle(
        &self,
        user_id: Uuid,
        payload: &payload::WebhookHealthCheck,
        broken: bool,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        if broken {
            tracing::warn!(%user_id, "a push channel is broken");
            let renewal = WebhookRenewal {
                user_id: Some(user_id),
                reason: Some(RenewalReason::Stale),
                ..WebhookRenewal::default()
            };
            let once = Options::default().named(format_args!("stale:{}", context.key));
            self.tasks.enqueue(&renewal, once).await?;
        }
        if let Some(sweep_id) = &payload.position.sweep_id {
            let (healthy, bad) = if broken { (0, 1) } else { (1, 0) };
            let is_high = self
                .sweeps
                .add_result(QUEUE, sweep_id, healthy, bad, HIGH_BROKEN_RATE, context.now())
                .await?;
            if is_high {
                tracing::error!(event = %EventCode::ManyStaleChannels, sweep_id, "too many quiet channels are broken");
            }
        }
        Ok(Outcome::done(Checked { broken }))
    }
}
