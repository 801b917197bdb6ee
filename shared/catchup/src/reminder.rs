//! Token reminders: what the two reminder queues share, each for one kind of token failure.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::failure::Failure;
use shared::job::{Context, Outcome, Setup};
use shared::payload::{Payload, Position, Target};
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

use crate::db::recipients::Recipients;
use crate::db::reminders::{DueReminder, TokenNotices};
use crate::db::token_health::NoticeKind;
use crate::notify::message::TokenNotice;
use crate::notify::{self, Delivery, Notifier, Recipient, Timeouts};

/// Sends reminders, and finds those that are due.
pub struct Reminders {
    notices: TokenNotices,
    recipients: Recipients,
    sweeps: Sweeps,
    tasks: Tasks,
    notifier: Notifier,
    kind: NoticeKind,
}

/// What became of one user's reminders.
#[derive(Debug, Default, Serialize)]
struct Reminded {
    sent: u64,
    refused: u64,
    unknown: u64,
    /// When what is left may be sent.
    #[serde(skip)]
    back_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    failed: Option<notify::Error>,
}

impl Reminders {
    /// Reminders of that kind of token failure.
    pub fn new(setup: &mut Setup, kind: NoticeKind) -> Result<Self, InvalidConfig> {
        let (notices, recipients) = (TokenNotices::new(setup), Recipients::new(setup));
        let (sweeps, tasks, notifier) =
            (setup.sweeps(), setup.tasks(), Notifier::new(setup, Timeouts::default()));
        Ok(Self {
            notices: notices?,
            recipients: recipients?,
            sweeps: sweeps?,
            tasks: tasks?,
            notifier: notifier?,
            kind,
        })
    }

    /// Runs a user's task, or a page of the sweep, whose tasks carry a `payload`.
    pub async fn run<P: Payload>(
        &self,
        target: Target,
        context: &Context,
        payload: impl Fn(Target) -> P + Send + Sync,
    ) -> Result<Outcome, Failure> {
        match target {
            Target::Sweep(position) => self.sweep(&position, context, payload).await,
            Target::User(user) => {
                let run = self.remind(user.user_id, context);
                sweep::user_task(&self.sweeps, P::QUEUE, user.swept(), context, run).await
            }
        }
    }

    async fn sweep<P: Payload>(
        &self,
        position: &Position,
        context: &Context,
        payload: impl Fn(Target) -> P + Send + Sync,
    ) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(position, context);
        if !sweep.begin(&self.sweeps, P::QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let due = self.notices.due(self.kind, context.now(), sweep.after, sweep::PAGE).await?;
        sweep.fan_out(&self.sweeps, &self.tasks, due, payload).await
    }

    /// A reminder is done with when each channel took it, or never will: what meets a limit or fails is rescheduled.
    async fn remind(&self, user_id: Uuid, context: &Context) -> Result<Outcome, Failure> {
        let Some(person) = self.recipients.contactable(user_id).await? else {
            return Ok(Outcome::Skipped("unknown_user"));
        };
        let due = self.notices.due_for(user_id, self.kind, context.now()).await?;
        if due.is_empty() {
            return Ok(Outcome::Skipped("nothing_due"));
        }
        let notice = |due: DueReminder| TokenNotice {
            id: due.id,
            integration: due.integration,
            kind: self.kind,
            at: None,
        };
        let notices: Vec<_> = due.into_iter().map(notice).collect();

        let recipient = Recipient::of(user_id, &person);
        let mut reminded = Reminded::default();
        if !notify::has_time_to_send(context) {
            return Ok(Outcome::Snooze(context.now()));
        }
        let notifier = self.notifier.planning(user_id, 1, person.phone.as_ref().map_or(0, |_| notices.len()));
        // One e-mail about all, whatever the preferences say of batches: the account depends on it.
        let emailed = notifier.send_email(&recipient, &person.email, &notices).await;
        let is_emailed = reminded.settles(emailed);
        let mut sent = Vec::new();
        for notice in &notices {
            let is_texted = match &person.phone {
                Some(_) if !notify::has_time_to_send(context) => {
                    reminded.back_at = reminded.back_at.max(Some(context.now()));
                    break;
                }
                Some(number) => reminded.settles(notifier.send_sms(&recipient, number, notice).await),
                None => true,
            };
            if is_emailed && is_texted {
                sent.push(notice.id);
            }
        }
        self.notices.mark_sent(&sent, context.now()).await?;
        match reminded {
            Reminded { failed: Some(error), .. } => Err(error.into()),
            Reminded { back_at: Some(at), .. } => Ok(Outcome::Snooze(at)),
            reminded => Ok(Outcome::done(reminded)),
        }
    }
}

impl Reminded {
    /// Counts a delivery, and says whether nothing is left to do about it.
    fn settles(&mut self, delivery: Result<Delivery, notify::Error>) -> bool {
        match delivery {
            Ok(Delivery::Sent { .. }) => self.sent += 1,
            Ok(Delivery::AlreadyClaimed) => {}
            Ok(Delivery::Refused { .. }) => self.refused += 1,
            Ok(Delivery::Unknown) => self.unknown += 1,
            Ok(Delivery::LimitedUntil(until)) => {
                self.back_at = self.back_at.max(Some(until));
                return false;
            }
            Err(error) => {
                // Of several failures the task reports one; each is logged.
                tracing::warn!(error = &error as &dyn std::error::Error, "a reminder was not sent");
                self.failed = Some(error);
                return false;
            }
        }
        true
    }
}
