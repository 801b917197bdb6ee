//! Token reminders: what the two reminder queues share, each for one kind of token failure.

use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::failure::Failure;
use shared::job::{Context, Outcome, Setup};
use shared::payload::{Payload, Position, Target};
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

use crate::db::opt_outs::List;
use crate::db::recipients::Recipients;
use crate::db::reminders::{DueReminder, TokenNotices};
use crate::db::token_health::NoticeKind;
use crate::notify::message::TokenNotice;
use crate::notify::{self, Channel, Delivery, Notifier, Recipient, Timeouts, Wait};

/// Sends reminders, and finds those that are due.
pub struct Reminders {
    notices: TokenNotices,
    recipients: Recipients,
    sweeps: Sweeps,
    tasks: Tasks,
    notifier: Notifier,
    kind: NoticeKind,
}

/// What became of one user's reminders: messages, by what was done with them.
#[derive(Debug, Default, Serialize)]
struct Reminded {
    sent: u64,
    refused: u64,
    unknown: u64,
    #[serde(skip)]
    wait: Wait,
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

    /// Each channel is sent one message about all that is due. What meets a limit or is not taken is rescheduled, and does not keep
    /// the other channel waiting.
    async fn remind(&self, user_id: Uuid, context: &Context) -> Result<Outcome, Failure> {
        let Some(person) = self.recipients.contactable(user_id, context.now()).await? else {
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
            at: due.at,
        };
        let notices: Vec<_> = due.into_iter().map(notice).collect();
        let recipient = Recipient::of(user_id, &person);
        let channels = person.channels(List::Account);
        if channels.is_empty() {
            return Ok(Outcome::Skipped("no_channel"));
        }
        let count = |wanted| channels.iter().filter(|(channel, _)| *channel == wanted).count();
        let notifier = self.notifier.planning(user_id, count(Channel::Email), count(Channel::Sms));
        let mut reminded = Reminded::default();
        for (channel, address) in channels {
            let at = notify::may_send_at(channel, context.now(), &recipient, None);
            if at > context.now() || !notifier.has_time_to_send(context) {
                reminded.wait.until(at);
                continue;
            }
            let delivery = notifier.send(&recipient, channel, address, &notices).await?;
            reminded.count(&delivery, context);
        }
        if reminded.wait == Wait::default() {
            let ids: Vec<_> = notices.iter().map(|notice| notice.id).collect();
            self.notices.mark_reminded(user_id, &ids, context.now()).await?;
        }
        Ok(reminded.wait.or_done(reminded))
    }
}

impl Reminded {
    fn count(&mut self, delivery: &Delivery, context: &Context) {
        match *delivery {
            Delivery::Sent { .. } => self.sent += 1,
            Delivery::AlreadyClaimed => {}
            Delivery::Refused { .. } => self.refused += 1,
            Delivery::Unknown => self.unknown += 1,
            Delivery::LimitedUntil(until) => self.wait.until(until),
            Delivery::NotTaken { until } => self.wait.for_retry(until, context),
        }
    }
}
