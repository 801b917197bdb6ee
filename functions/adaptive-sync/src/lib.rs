//! The hourly sweep over everyone whose next sync is due. It syncs no user itself.

use catchup::db::sync_schedule::SyncSchedules;
use catchup::payload::{self, GoogleContactsSync, Integration, SyncType, Trigger};
use catchup::sync;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

const QUEUE: Queue = <payload::AdaptiveSync as Payload>::QUEUE;

/// Creates a sync for each user whose schedule says so.
pub struct AdaptiveSync {
    schedules: SyncSchedules,
    sweeps: Sweeps,
    tasks: Tasks,
}

impl Job for AdaptiveSync {
    type Payload = payload::AdaptiveSync;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (schedules, sweeps, tasks) = (SyncSchedules::new(setup), setup.sweeps(), setup.tasks());
        Ok(Self { schedules: schedules?, sweeps: sweeps?, tasks: tasks? })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let integration = payload.integration_type;
        // Both integrations' sweeps have the same period, and continue in the same queue.
        let sweep = Sweep::of_part(integration.as_str(), &payload.position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let due = sync::due(&self.schedules, integration, context.now(), sweep.after, sweep::PAGE).await?;
        let users = due.users.clone();
        let rest = |position| payload::AdaptiveSync { integration_type: integration, position };
        let (queue, outcome) = match integration {
            Integration::GoogleCalendar => (
                <payload::CalendarSync as Payload>::QUEUE,
                sweep.fan_out_to(&self.sweeps, &self.tasks, due, calendar_sync, rest).await?,
            ),
            Integration::GoogleContacts => (
                <GoogleContactsSync as Payload>::QUEUE,
                sweep.fan_out_to(&self.sweeps, &self.tasks, due, contacts_sync, rest).await?,
            ),
        };
        let created = (queue, sweep.id.as_str());
        sync::tasks_created(&self.schedules, integration, created, &users, context.now()).await?;
        Ok(outcome)
    }
}

fn calendar_sync(user_id: Uuid) -> payload::CalendarSync {
    payload::CalendarSync { user_id, trigger: Some(Trigger::Schedule) }
}

fn contacts_sync(user_id: Uuid) -> GoogleContactsSync {
    GoogleContactsSync {
        user_id,
        sync_type: SyncType::Incremental,
        trigger: Some(Trigger::Schedule),
        resume: None,
    }
}
