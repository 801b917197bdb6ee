//! Finds push channels that silently stopped working: a sweep creates a task for each stale candidate, and the task
//! asks Google once whether there was something to say.
//!
//! A stale candidate is a channel of at least two days that said nothing for two days. Most are quiet because their
//! calendars are.

use std::time::Duration;

use catchup::db::webhook_channels::Channels;
use catchup::event::EventCode;
use catchup::google::calendar::{CHANGES_KEPT, PRIMARY};
use catchup::google::{Calendar, Error, Gate, Stop};
use catchup::payload::{self, Integration, RenewalCause, RenewalReason, WebhookRenewal};
use catchup::sync::{Admission, Ended, Entry, Refusal, Syncs};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

const QUEUE: Queue = <payload::WebhookHealthCheck as Payload>::QUEUE;

/// A sweep in which a larger share of the channels that were checked is broken is an alert.
const HIGH_BROKEN_RATE: f64 = 0.2;

/// More than Google's clock and ours, and the way of a notification, come to: what Google dates so soon after the last
/// notification may be what caused that one.
const CLOCK_DIFFERENCE: TimeDelta = TimeDelta::minutes(1);

/// Time in which the result is counted and a renewal asked for.
const WRITE_RESERVE: Duration = Duration::from_secs(10);

/// Checks quiet channels, and finds them.
pub struct WebhookHealthCheck {
    channels: Channels,
    syncs: Syncs,
    sweeps: Sweeps,
    tasks: Tasks,
    calendar: Calendar,
    gate: Gate,
}

/// What the check of a candidate showed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Checked {
    /// A change was not reported through the channel: it will be replaced.
    broken: bool,
}

impl Job for WebhookHealthCheck {
    type Payload = payload::WebhookHealthCheck;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (channels, syncs, sweeps) = (Channels::new(setup), Syncs::new(setup), setup.sweeps());
        let (tasks, calendar) = (setup.tasks(), Calendar::new(setup));
        let gate = Gate::new(setup, Integration::GoogleCalendar, WRITE_RESERVE);
        Ok(Self {
            channels: channels?,
            syncs: syncs?,
            sweeps: sweeps?,
            tasks: tasks?,
            calendar: calendar?,
            gate: gate?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => {
                let run = self.check(&user, context);
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
            let ending = self.channels.count_ending(now).await?;
            tracing::info!(sweep_id = sweep.id, ending, "channels that end within a day");
        }
        let candidates = self.channels.stale_candidates(now, sweep.after, sweep::PAGE).await?;
        sweep.fan_out(&self.sweeps, &self.tasks, candidates, payload::WebhookHealthCheck).await
    }

    async fn check(&self, user: &UserTask, context: &Context) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        let (integration, now) = (Integration::GoogleCalendar, context.now());
        let Some(quiet_since) = self.channels.quiet_since(user_id, now).await? else {
            return Ok(Outcome::Skipped("no_suspect"));
        };
        // A check is no sync: like a sync it may pass a half-open breaker, but it leaves the breaker as it was.
        let check = |admission| async move {
            match admission {
                Admission::Admitted(_) => self.ask(user, quiet_since, context).await,
                Admission::Refused(refusal) => Ok(Outcome::Skipped(refusal.code())),
            }
            .map(Ended::Here)
        };
        self.syncs.run(user_id, integration, Entry::Check, &context.key, || context.now(), check).await
    }

    async fn ask(
        &self,
        user: &UserTask,
        quiet_since: DateTime<Utc>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        match self.has_changed(user_id, quiet_since, context).await {
            Ok(broken) => self.settle(user, broken, context).await,
            Err(Stop::Wait(until)) => Ok(Outcome::Snooze(until)),
            Err(Stop::Disconnected(reason)) => Ok(Outcome::Skipped(Refusal::from(reason).code())),
            // An account without Calendar; nothing that another attempt could change.
            Err(Stop::Google(
                error @ (Error::NotFound | Error::Forbidden { .. } | Error::NoCalendarAccount),
            )) => {
                tracing::warn!(%user_id, %error, "user has no readable calendar");
                Ok(Outcome::Skipped("no_calendar"))
            }
            Err(Stop::Google(error)) => Err(error.into()),
            Err(Stop::Database(error)) => Err(error.into()),
        }
    }

    async fn has_changed(
        &self,
        user_id: Uuid,
        quiet_since: DateTime<Utc>,
        context: &Context,
    ) -> Result<bool, Stop> {
        let mut calls = self.gate.calls(user_id, context).await?;
        let since = (quiet_since + CLOCK_DIFFERENCE).max(context.now() - CHANGES_KEPT);
        self.calendar.changed_since(&mut calls, PRIMARY, since).await
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
                .add_result(QUEUE, sweep_id, healthy, bad, HIGH_BROKEN_RATE, context.now())
                .await?;
            if is_high {
                tracing::error!(event = %EventCode::ManyStaleChannels, sweep_id, "too many quiet channels are broken");
            }
        }
        Ok(Outcome::done(Checked { broken }))
    }
}
