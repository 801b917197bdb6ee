//! Finds push channels that broke without a word: a sweep creates a task for each suspect, and the task asks Google once
//! whether there was something to say.
//!
//! A suspect is a channel of at least two days that said nothing for two days. Most are quiet because their calendars are.

use catchup::db::webhook_channels::Channels;
use catchup::event::EventCode;
use catchup::google::calendar::{CHANGES_KEPT, PRIMARY};
use catchup::google::{Access, Calendar, Error, TokenError, Tokens};
use catchup::limits;
use catchup::payload::{self, Integration, RenewalCause, RenewalReason, WebhookRenewal};
use catchup::sync::{Admission, Ended, Entry, Refusal, Syncs};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::config::Incomplete;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use shared::rate_limit::{Limiter, Verdict};
use shared::sweep::{self, Sweep};
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

const QUEUE: Queue = <payload::WebhookHealthCheck as Payload>::QUEUE;

/// A sweep in which a larger share of the channels that were looked at is broken is an alert.
const HIGH_BROKEN_RATE: f64 = 0.2;

/// More than Google's clock and ours, and the way of a notification, come to: what Google dates so soon after the last
/// notification may be what that one told of.
const CLOCK_DIFFERENCE: TimeDelta = TimeDelta::minutes(1);

/// Looks at quiet channels, and finds them.
pub struct WebhookHealthCheck {
    channels: Channels,
    syncs: Syncs,
    sweeps: Sweeps,
    tasks: Tasks,
    tokens: Tokens,
    calendar: Calendar,
    limiter: Limiter,
}

/// What a look at a suspect showed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Checked {
    /// Something happened that the channel did not tell: it will be replaced.
    broken: bool,
}

impl Job for WebhookHealthCheck {
    type Payload = payload::WebhookHealthCheck;

    fn new(setup: &mut Setup) -> Result<Self, Incomplete> {
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
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => {
                let run = self.look_at(&user, context);
                sweep::user_task(&self.sweeps, QUEUE, user.swept(), context, run).await
            }
        }
    }
}

impl WebhookHealthCheck {
    async fn sweep(&self, position: &Position, context: &Context) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let now = context.now();
        if position.cursor.is_none() {
            let ending = self.channels.channels_ending(now).await?;
            tracing::info!(sweep_id = sweep.id, ending, "channels that end within a day");
        }
        let suspects = self.channels.suspects(now, sweep.after, sweep::PAGE).await?;
        sweep.fan_out(&self.sweeps, &self.tasks, suspects, payload::WebhookHealthCheck).await
    }

    async fn look_at(&self, user: &UserTask, context: &Context) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        let (integration, now) = (Integration::GoogleCalendar, context.now());
        let Some(quiet_since) = self.channels.quiet_since(user_id, now).await? else {
            return Ok(Outcome::Skipped("no_suspect"));
        };
        // A look is no sync: it goes through a half-open breaker as one does, and leaves it as it was.
        let look = |admission| async move {
            match admission {
                Admission::Admitted(_) => self.ask(user, quiet_since, context).await,
                Admission::Refused(refusal) => Ok(Outcome::Skipped(refusal.code())),
            }
            .map(Ended::Here)
        };
        self.syncs.run(user_id, integration, Entry::First, || context.now(), look).await
    }

    async fn ask(
        &self,
        user: &UserTask,
        quiet_since: DateTime<Utc>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        if let Verdict::DeniedUntil(until) = self.limiter.acquire(&limits::GOOGLE_CALENDAR, user_id).await {
            return Ok(Outcome::Snooze(until));
        }
        let now = context.now();
        match self.has_changed(user_id, quiet_since, now).await {
            Ok(broken) => self.settle(user, broken, context).await,
            Err(Error::Limited { retry_after }) => Ok(Outcome::Snooze(now + retry_after)),
            Err(Error::Token(TokenError::Revoked)) => Ok(Outcome::Skipped(Refusal::TokenRevoked.code())),
            Err(Error::Token(TokenError::NotConnected)) => Ok(Outcome::Skipped(Refusal::NotConnected.code())),
            // An account without Calendar; nothing that another attempt could change.
            Err(error @ (Error::NotFound | Error::Forbidden { .. })) => {
                tracing::warn!(%user_id, %error, "a user has no calendar to look at");
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
        let mut access = Access::begin(&self.tokens, user_id, Integration::GoogleCalendar).await?;
        let since = (quiet_since + CLOCK_DIFFERENCE).max(now - CHANGES_KEPT);
        self.calendar.changed_since(&mut access, PRIMARY, since).await
    }

    async fn settle(&self, user: &UserTask, broken: bool, context: &Context) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        if broken {
            tracing::warn!(%user_id, "a push channel is broken");
            let details = RenewalCause { reason: Some(RenewalReason::Stale) };
            let renewal = WebhookRenewal(Target::User(UserTask { details, ..UserTask::new(user_id) }));
            let once = Options::default().named(format_args!("stale:{}", context.key));
            self.tasks.enqueue(&renewal, once).await?;
        }
        if let Some(sweep_id) = &user.sweep_id {
            let (healthy, bad) = if broken { (0, 1) } else { (1, 0) };
            let is_high = self
                .sweeps
                .sweep_result(QUEUE, sweep_id, healthy, bad, HIGH_BROKEN_RATE, context.now())
                .await?;
            if is_high {
                tracing::error!(event = %EventCode::ManyStaleChannels, sweep_id, "too many quiet channels are broken");
            }
        }
        Ok(Outcome::done(Checked { broken }))
    }
}
