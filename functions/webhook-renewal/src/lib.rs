//! Keeps every user's push channel open: a daily sweep finds those that end soon or are missing, and one task per user
//! replaces them.
//!
//! A channel watches the user's primary calendar. The new one is open before the old one is stopped, so that no change goes
//! unnoticed. Notifications that are under way when the one takes the other's place are refused, and a broken channel has
//! lost some before: a sync follows.

use std::time::Duration;

use catchup::db::webhook_channels::Channels;
use catchup::event::EventCode;
use catchup::google::{Calendar, Error, Gate, PUSH_NOT_SUPPORTED, Stop};
use catchup::payload::{self, Integration, RenewalCause, RenewalReason};
use catchup::sync::schedule::WITHOUT_PUSH_CHANNEL;
use catchup::sync::{Admission, Ended, Entry, Refusal, Syncs};
use catchup::variables;
use catchup::webhooks;
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::http;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use url::Url;
use uuid::Uuid;

mod replace;

use replace::Replacement;

const QUEUE: Queue = <payload::WebhookRenewal as Payload>::QUEUE;

/// A sweep with a larger share of failed renewals than this is an alert.
const HIGH_FAILURE_RATE: f64 = 0.05;

/// Time in which what Google says of a channel is stored.
const WRITE_RESERVE: Duration = Duration::from_secs(10);

/// Replaces push channels, and finds those that are due.
pub struct WebhookRenewal {
    channels: Channels,
    syncs: Syncs,
    sweeps: Sweeps,
    tasks: Tasks,
    calendar: Calendar,
    gate: Gate,
    /// Where Google sends notifications.
    address: Url,
}

/// The task of a user.
type Renewal = UserTask<RenewalCause>;

/// What is to be done about a user's channels, besides stopping orphaned ones.
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

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (channels, syncs, sweeps) = (Channels::new(setup), Syncs::new(setup), setup.sweeps());
        let (tasks, calendar, address) = (setup.tasks(), Calendar::new(setup), address(setup));
        let gate = Gate::new(setup, Integration::GoogleCalendar, WRITE_RESERVE);
        Ok(Self {
            channels: channels?,
            syncs: syncs?,
            sweeps: sweeps?,
            tasks: tasks?,
            calendar: calendar?,
            gate: gate?,
            address: address?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => {
                let run = self.renew(&user, context);
                sweep::user_task(&self.sweeps, QUEUE, user.swept(), context, run).await
            }
        }
    }
}

/// Notifications carry the channel's token.
fn address(setup: &mut Setup) -> Result<Url, InvalidConfig> {
    let variable = &variables::CALENDAR_WEBHOOK_URL;
    let url = setup.config().required::<Url>(variable)?;
    if !http::is_safe_for_credentials(&url) {
        return Err(setup.config().problem(variable, "is neither https nor on loopback"));
    }
    Ok(url)
}

impl WebhookRenewal {
    async fn sweep(&self, position: &Position, context: &Context) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let due = self.channels.due(context.now(), sweep.after, sweep::PAGE).await?;
        sweep.fan_out(&self.sweeps, &self.tasks, due, payload::WebhookRenewal).await
    }

    async fn renew(&self, user: &Renewal, context: &Context) -> Result<Outcome, Failure> {
        // A renewal is no sync: it goes through a half-open breaker as one does, and leaves it as it was.
        let renew = |admission| async move {
            match admission {
                Admission::Admitted(_) => {
                    let need = self.need(user, context).await?;
                    self.replace(user, need, context).await
                }
                Admission::Refused(refusal) => Ok(Outcome::Skipped(refusal.code())),
            }
            .map(Ended::Here)
        };
        let integration = Integration::GoogleCalendar;
        self.syncs.run(user.user_id, integration, Entry::Check, &context.key, || context.now(), renew).await
    }

    async fn need(&self, user: &Renewal, context: &Context) -> Result<Need, Failure> {
        let now = context.now();
        let Some(channel) = self.channels.of_user(user.user_id).await? else { return Ok(Need::Channel) };
        if channel.opened_by.as_ref() == Some(&context.key) {
            return Ok(Need::Rest);
        }
        let is_due = match (user.details.reason, &user.sweep_id) {
            // Replaced since it was found broken.
            (Some(RenewalReason::Stale), _) => channel.ends_soon(now) || !channel.is_young(now),
            (None, Some(_)) => channel.ends_soon(now),
            // A task that names a user asks for a new channel.
            (None, None) | (Some(RenewalReason::Other), _) => true,
        };
        Ok(if is_due { Need::Channel } else { Need::Nothing })
    }

    async fn replace(&self, user: &Renewal, need: Need, context: &Context) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        if need == Need::Nothing && self.channels.orphaned(user_id).await?.is_empty() {
            return Ok(Outcome::Skipped("not_due"));
        }
        let mut replacement = match Replacement::begin(self, user_id, context).await {
            Ok(replacement) => replacement,
            Err(stop) => return self.settle_failure(user, stop, context).await,
        };
        let opened = need == Need::Channel;
        if opened && let Err(stop) = replacement.open().await {
            return self.settle_failure(user, stop, context).await;
        }
        if need != Need::Nothing {
            webhooks::enqueue_sync(&self.tasks, user_id).await?;
        }
        let result = replacement.stop_orphaned().await;
        let renewed = Renewed { opened, stopped: replacement.stopped };
        match result {
            Ok(()) => {}
            Err(Stop::Wait(until)) => return Ok(Outcome::Snooze(until)),
            // The user has a channel; what is left is orphaned, and left for the next sweep.
            Err(Stop::Disconnected(reason)) => {
                tracing::warn!(%user_id, reason = Refusal::from(reason).code(), "a channel was not stopped");
            }
            Err(Stop::Google(error)) if context.last_attempt => {
                tracing::warn!(%user_id, error = &error as &dyn std::error::Error, "a channel was not stopped");
            }
            Err(Stop::Google(error)) => return Err(error.into()),
            Err(Stop::Database(error)) => return Err(error.into()),
        }
        self.count(user, true, context).await?;
        Ok(Outcome::done(renewed))
    }

    /// The user has no new channel.
    async fn settle_failure(
        &self,
        user: &Renewal,
        stop: Stop,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        let error = match stop {
            Stop::Wait(until) => return Ok(Outcome::Snooze(until)),
            Stop::Disconnected(reason) => return Ok(Outcome::Skipped(Refusal::from(reason).code())),
            Stop::Database(error) => return Err(error.into()),
            Stop::Google(error) => error,
        };
        match error {
            // An account without Calendar; nothing that another attempt could change.
            Error::NotFound | Error::Forbidden { .. } | Error::NoCalendarAccount => {
                self.poll(user_id, &error, "no_calendar", context).await
            }
            Error::Refused { ref reason, .. } if reason == PUSH_NOT_SUPPORTED => {
                self.poll(user_id, &error, "push_not_supported", context).await
            }
            error => {
                let failure = Failure::from(error);
                if context.is_final(&failure) {
                    self.channels.poll_without_channel(user_id, WITHOUT_PUSH_CHANNEL, context.now()).await?;
                    self.count(user, false, context).await?;
                }
                Err(failure)
            }
        }
    }

    /// The user's calendar cannot be watched, and is polled.
    async fn poll(
        &self,
        user_id: Uuid,
        error: &Error,
        reason: &'static str,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        tracing::warn!(%user_id, %error, "user has no calendar to watch");
        self.channels.poll_without_channel(user_id, WITHOUT_PUSH_CHANNEL, context.now()).await?;
        Ok(Outcome::Skipped(reason))
    }

    /// Counts the end of a task for the sweep that created it, if one did.
    async fn count(&self, user: &Renewal, succeeded: bool, context: &Context) -> Result<(), Failure> {
        let Some(sweep_id) = &user.sweep_id else { return Ok(()) };
        let (good, bad) = if succeeded { (1, 0) } else { (0, 1) };
        let is_high =
            self.sweeps.add_result(QUEUE, sweep_id, good, bad, HIGH_FAILURE_RATE, context.now()).await?;
        if is_high {
            tracing::error!(event = %EventCode::ManyFailedRenewals, sweep_id, "too many renewals failed");
        }
        Ok(())
    }
}
