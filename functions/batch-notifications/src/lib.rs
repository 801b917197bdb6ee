//! Tells users once a week what was suggested to them: a sweep finds whose batch is due, and one task per user sends
//! it.

use catchup::db::batches::{self, Batches, DueBatch, PendingSuggestion};
use catchup::db::opt_outs::List;
use catchup::db::recipients::{Contactable, Recipients};
use catchup::notify::message::{StillUseful, Suggestion};
use catchup::notify::{self, Channel, Delivery, Notifier, Recipient, Timeouts, Wait};
use catchup::payload::{self, BatchTime};
use catchup::suggestions::{self, Planner};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

mod digest_level;
pub mod schedule;

use digest_level::DigestLevel;
use schedule::Window;

const QUEUE: Queue = <payload::BatchNotifications as Payload>::QUEUE;

/// Sweeps among which the last window is looked for: those of more than [`schedule::LOOK_BACK`], in whatever order they
/// ran.
const RECENT_SWEEPS: u32 = 600;

/// Sends batches, and finds those that are due.
pub struct BatchNotifications {
    batches: Batches,
    recipients: Recipients,
    sweeps: Sweeps,
    tasks: Tasks,
    planner: Planner,
    notifier: Notifier,
}

/// What became of one user's batch: suggestions, by what was done with them.
#[derive(Debug, Default, Serialize)]
struct Batch {
    emailed: usize,
    texted: usize,
    shown_in_app: usize,
    refused: usize,
    unknown: usize,
    #[serde(skip)]
    wait: Wait,
}

/// What one channel is to carry.
struct Part<'a> {
    channel: Channel,
    address: &'a str,
    /// Not before that time.
    at: DateTime<Utc>,
    content: Content,
}

/// What a message is about.
enum Content {
    Suggestions(Vec<Suggestion>),
    Question(StillUseful),
}

impl Job for BatchNotifications {
    type Payload = payload::BatchNotifications;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        Self::with_timeouts(setup, Timeouts::default())
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => self.send(user.user_id, context).await,
        }
    }
}

impl BatchNotifications {
    /// The same, with other waits for providers.
    ///
    /// # Errors
    /// Names what the environment lacks.
    pub fn with_timeouts(setup: &mut Setup, timeouts: Timeouts) -> Result<Self, InvalidConfig> {
        let (batches, recipients, sweeps) = (Batches::new(setup), Recipients::new(setup), setup.sweeps());
        let (tasks, planner) = (setup.tasks(), Planner::new(setup));
        let notifier = Notifier::new(setup, timeouts);
        Ok(Self {
            batches: batches?,
            recipients: recipients?,
            sweeps: sweeps?,
            tasks: tasks?,
            planner: planner?,
            notifier: notifier?,
        })
    }

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

    /// Sends the best suggestions that no earlier batch notified the user about, by each channel. What the user's limits
    /// leave over waits for the next batch; what a provider does not take, and texts in quiet hours, wait while they
    /// are of use. What becomes of one channel does not concern the other.
    async fn send(&self, user_id: Uuid, context: &Context) -> Result<Outcome, Failure> {
        let Some(person) = self.recipients.contactable(user_id, context.now()).await? else {
            return Ok(Outcome::Skipped("unknown_user"));
        };
        let recipient = Recipient::of(user_id, &person);
        if person.channels(List::Ideas).is_empty() {
            return self.show_in_app(&recipient, context).await;
        }
        let parts = self.parts(&recipient, &person, context).await?;
        let count = |channel| parts.iter().filter(|part| part.channel == channel).count();
        let notifier = self.notifier.planning(user_id, count(Channel::Email), count(Channel::Sms));
        let mut batch = Batch::default();
        for part in parts {
            if part.at > context.now() || !notifier.has_time_to_send(context) {
                batch.wait.until(part.at);
                continue;
            }
            let Part { channel, address, content, .. } = part;
            let (count, delivery) = match content {
                Content::Suggestions(suggestions) => {
                    (suggestions.len(), notifier.send(&recipient, channel, address, &suggestions).await?)
                }
                Content::Question(question) => {
                    (0, notifier.send(&recipient, channel, address, &[question]).await?)
                }
            };
            batch.count(channel, count, &delivery, context);
        }
        Ok(batch.wait.or_done(batch))
    }

    /// Notifies in the application a user whom no channel reaches, if the application shows notifications.
    async fn show_in_app(&self, recipient: &Recipient, context: &Context) -> Result<Outcome, Failure> {
        let (user_id, now) = (recipient.user_id, context.now());
        if !self.batches.has_in_app().await? {
            return Ok(Outcome::Skipped("no_channel"));
        }
        let max = match DigestLevel::of(&self.batches.digests(user_id, now).await?) {
            DigestLevel::Digest { max } => max,
            DigestLevel::Question(_) | DigestLevel::Silent => return Ok(Outcome::Skipped("no_reaction")),
        };
        let announceable = self.planner.announceable(user_id, now).await?.unwrap_or_default();
        let suggestions = self.suggestions(user_id, batches::IN_APP, now, &announceable, max).await?;
        if suggestions.is_empty() {
            return Ok(Outcome::done(Batch::default()));
        }
        let ids: Vec<_> = suggestions.iter().map(|suggestion| suggestion.id).collect();
        let digest = self.notifier.in_app(recipient, &suggestions);
        let is_shown = self.batches.show_in_app(user_id, &ids, &digest, now).await?;
        let shown_in_app = if is_shown { ids.len() } else { 0 };
        Ok(Outcome::done(Batch { shown_in_app, ..Batch::default() }))
    }

    /// What there is to send, channel by channel, the e-mail first.
    async fn parts<'a>(
        &self,
        recipient: &Recipient,
        person: &'a Contactable,
        context: &Context,
    ) -> Result<Vec<Part<'a>>, Failure> {
        let now = context.now();
        let mut parts = Vec::new();
        let digests = self.batches.digests(recipient.user_id, now).await?;
        let mut channels = person.channels(List::Ideas);
        // A batch whose other channel had to wait is no second one.
        channels.retain(|(channel, _)| !digests.has_batch(*channel, now));
        let level = DigestLevel::of(&digests);
        if channels.is_empty() || level == DigestLevel::Silent {
            return Ok(parts);
        }
        let Some(announceable) = self.planner.announceable(recipient.user_id, now).await? else {
            return Ok(parts);
        };
        for (channel, address) in channels {
            let at = notify::may_send_at(channel, now, recipient, person.chosen_time());
            let body = match level {
                DigestLevel::Digest { max } => Content::Suggestions(
                    self.suggestions(recipient.user_id, channel.as_str(), at, &announceable, max).await?,
                ),
                DigestLevel::Question(last) if at < context.scheduled_for + TimeDelta::weeks(1) => {
                    Content::Question(self.notifier.still_useful(last))
                }
                // The next batch asks.
                DigestLevel::Question(_) | DigestLevel::Silent => continue,
            };
            if !matches!(&body, Content::Suggestions(suggestions) if suggestions.is_empty()) {
                parts.push(Part { channel, address, at, content: body });
            }
        }
        Ok(parts)
    }

    /// The best suggestions of which a message at that time is not too late.
    async fn suggestions(
        &self,
        user_id: Uuid,
        channel: &str,
        at: DateTime<Utc>,
        among: &[Uuid],
        max: usize,
    ) -> Result<Vec<Suggestion>, Failure> {
        let next_batch = at + TimeDelta::weeks(1);
        let times = [at + suggestions::NOTICE, next_batch + suggestions::AFTER_BATCH];
        let pending = self.batches.suggestions_to_send(user_id, channel, times, among, max).await?;
        let suggestion = |PendingSuggestion { id, contacts, start, end, reasoning }| Suggestion {
            id,
            contacts,
            start,
            end,
            reasoning,
            acts: Some(self.notifier.acts(id)),
        };
        Ok(pending.into_iter().map(suggestion).collect())
    }
}

impl Batch {
    fn count(&mut self, channel: Channel, suggestions: usize, delivery: &Delivery, context: &Context) {
        match *delivery {
            Delivery::Sent { .. } => match channel {
                Channel::Email => self.emailed += suggestions,
                Channel::Sms => self.texted += suggestions,
            },
            Delivery::AlreadyClaimed => {}
            Delivery::Refused { .. } => self.refused += suggestions,
            Delivery::Unknown => self.unknown += suggestions,
            // The next batch is the user's next one; but a run that was cut off, or whose message was not taken, may have counted.
            Delivery::LimitedUntil(until) => {
                if context.dispatches > 0 {
                    self.wait.until(until);
                }
            }
            Delivery::NotTaken { until } => self.wait.for_retry(until, context),
        }
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
