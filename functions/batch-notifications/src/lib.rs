//! Tells users once a week what was suggested to them: a sweep finds whose batch is due, and one task per user sends
//! it.

use catchup::db::batches::{Batches, DueBatch, PendingSuggestion};
use catchup::db::deliveries::Channel;
use catchup::db::recipients::Recipients;
use catchup::limits;
use catchup::notify::message::Suggestion;
use catchup::notify::{self, Delivery, Notifier, Recipient, Timeouts, zone};
use catchup::payload::{self, BatchTime};
use catchup::suggestions;
use chrono::{Datelike, TimeDelta};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

pub mod schedule;

use schedule::Window;

const QUEUE: Queue = <payload::BatchNotifications as Payload>::QUEUE;

/// Sweeps among which the last window is looked for: those of more than [`schedule::LOOK_BACK`], in whatever order they
/// ran.
const RECENT_SWEEPS: u32 = 600;
/// A suggestion that begins sooner is too late to be read, and to be arranged.
const LEAD: TimeDelta = TimeDelta::hours(2);
/// Suggestions in one e-mail.
const MAX_DIGEST: u32 = 100;

/// Sends batches, and finds those that are due.
pub struct BatchNotifications {
    batches: Batches,
    recipients: Recipients,
    sweeps: Sweeps,
    tasks: Tasks,
    notifier: Notifier,
}

/// What became of one user's batch: suggestions, by what was done with them.
#[derive(Debug, Default, Serialize)]
struct Sent {
    emailed: usize,
    texted: usize,
    refused: usize,
}

/// A provider's answer did not come: its message is not sent again, and the others are later.
#[derive(Debug, thiserror::Error)]
#[error("delivery status of a message unknown: the rest is left for another attempt")]
struct Unanswered;

impl Job for BatchNotifications {
    type Payload = payload::BatchNotifications;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (batches, recipients, sweeps) = (Batches::new(setup), Recipients::new(setup), setup.sweeps());
        let (tasks, notifier) = (setup.tasks(), Notifier::new(setup, Timeouts::default()));
        Ok(Self {
            batches: batches?,
            recipients: recipients?,
            sweeps: sweeps?,
            tasks: tasks?,
            notifier: notifier?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => self.send(user.user_id, context).await,
        }
    }
}

impl BatchNotifications {
    async fn sweep(&self, position: &Position, context: &Context) -> Result<Outcome, Failure> {
        let window = match &position.sweep_id {
            Some(id) => id.parse().map_err(Failure::permanent)?,
            None => match self.next_window(context).await? {
                Some(window) => window,
                None => return Ok(Outcome::Skipped("swept_already")),
            },
        };
        let sweep = Sweep::named(|| window.to_string(), position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let page = self.batches.due(&window.zones(), sweep.after, sweep::PAGE).await?;
        let batches = page.due.iter().map(|due| (batch(due), name(due))).collect();
        let rest = |position| payload::BatchNotifications(Target::Sweep(position));
        sweep.fan_out_named(&self.sweeps, &self.tasks, batches, page.next, rest).await
    }

    /// The window that this sweep covers; `None` when other sweeps covered it.
    async fn next_window(&self, context: &Context) -> Result<Option<Window>, Failure> {
        let sweeps = self.sweeps.recent(QUEUE, RECENT_SWEEPS).await?;
        let windows = |is_finished| {
            let wanted = sweeps.iter().filter(move |sweep| sweep.is_finished == is_finished);
            wanted.filter_map(|sweep| sweep.id.parse().ok()).collect::<Vec<_>>()
        };
        // A window that ended in the future would keep batches from being found when their time comes.
        let until = context.scheduled_for.min(context.now());
        let period = QUEUE.policy().period().unwrap_or_default();
        Ok(Window::after(&windows(true), &windows(false), until, period))
    }

    /// Sends the suggestions that no earlier batch notified the user about. What the limits leave over waits for the
    /// next batch. Only a run after one that was cut off, and had counted its messages, is tried again when the limits
    /// allow it.
    async fn send(&self, user_id: Uuid, context: &Context) -> Result<Outcome, Failure> {
        let Some(person) = self.recipients.contactable(user_id).await? else {
            return Ok(Outcome::Skipped("unknown_user"));
        };
        if !person.email_enabled && person.phone.is_none() {
            return Ok(Outcome::Skipped("no_channel"));
        }
        let zone = zone::choose(user_id, person.preferred_timezone.as_deref(), person.timezone.as_deref());
        let recipient = Recipient { user_id, zone };
        let mut sent = Sent::default();
        let mut again_at = None;
        let texts = match person.phone {
            Some(_) => self.suggestions(user_id, Channel::Sms, limits::SMS.max, context).await?,
            None => Vec::new(),
        };
        let notifier = self.notifier.planning(user_id, person.email_enabled.into(), texts.len());
        if person.email_enabled {
            if !notify::has_time_to_send(context) {
                return Ok(Outcome::Snooze(context.now()));
            }
            let suggestions = self.suggestions(user_id, Channel::Email, MAX_DIGEST, context).await?;
            match notifier.send_email(&recipient, &person.email, &suggestions).await? {
                Delivery::Sent { .. } => sent.emailed = suggestions.len(),
                Delivery::AlreadyClaimed => {}
                Delivery::LimitedUntil(until) => again_at = Some(until),
                Delivery::Refused { .. } => sent.refused += suggestions.len(),
                Delivery::Unknown => return Err(Failure::transient(Unanswered)),
            }
        }
        for suggestion in texts {
            if !notify::has_time_to_send(context) {
                return Ok(Outcome::Snooze(context.now()));
            }
            let Some(number) = &person.phone else { break };
            match notifier.send_sms(&recipient, number, &suggestion).await? {
                Delivery::Sent { .. } => sent.texted += 1,
                Delivery::AlreadyClaimed => {}
                // It is the number that is refused.
                Delivery::Refused { .. } => {
                    sent.refused += 1;
                    break;
                }
                Delivery::Unknown => return Err(Failure::transient(Unanswered)),
                Delivery::LimitedUntil(until) => {
                    if sent.texted == 0 {
                        again_at = again_at.max(Some(until));
                    }
                    break;
                }
            }
        }
        let again_at = again_at.filter(|_| context.dispatches > 0);
        Ok(again_at.map_or_else(|| Outcome::done(sent), Outcome::Snooze))
    }

    async fn suggestions(
        &self,
        user_id: Uuid,
        channel: Channel,
        limit: u32,
        context: &Context,
    ) -> Result<Vec<Suggestion>, Failure> {
        let (now, next) = (context.now(), context.now() + TimeDelta::weeks(1));
        let times = [now + LEAD, next + suggestions::AFTER_BATCH];
        let pending = self.batches.suggestions_to_send(user_id, channel, times, limit).await?;
        let suggestion = |PendingSuggestion { id, contacts, start, end, reasoning }| Suggestion {
            id,
            contacts,
            start,
            end,
            reasoning,
        };
        Ok(pending.into_iter().map(suggestion).collect())
    }
}

fn batch(due: &DueBatch) -> payload::BatchNotifications {
    let details = BatchTime {
        day_of_week: u8::try_from(due.at.weekday().num_days_from_sunday()).ok(),
        time: Some(due.at.format("%H:%M").to_string()),
    };
    payload::BatchNotifications(Target::User(UserTask { details, ..UserTask::new(due.user_id) }))
}

/// Named after the batch and not after the sweep: whichever sweep finds it, it is one task.
fn name(due: &DueBatch) -> String {
    format!("batch:{}:{}", due.user_id, due.at)
}
