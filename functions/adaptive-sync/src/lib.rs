//! The hourly sweep over everyone whose next sync is due. It syncs nobody itself.

use serde::Serialize;
use shared::config::Incomplete;
use shared::db::Db;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{self, GoogleContactsSync, Integration, SyncType, Trigger};
use shared::sweep;
use shared::tasks::Tasks;
use uuid::Uuid;

/// Creates a sync for each user whose schedule says so.
pub struct AdaptiveSync {
    db: Db,
    tasks: Tasks,
}

/// What one page of the sweep did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Swept {
    due: usize,
    created: u64,
    existing: u64,
    /// A continuation task looks at the next users.
    continued: bool,
}

impl Job for AdaptiveSync {
    type Payload = payload::AdaptiveSync;

    fn new(setup: &mut Setup) -> Result<Self, Incomplete> {
        let (db, tasks) = (setup.db(), setup.tasks());
        Ok(Self { db: db?, tasks: tasks? })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let integration = payload.integration_type;
        // Both integrations' sweeps have the same occasion, and continue in the same queue.
        let sweep_id = payload
            .sweep_id
            .unwrap_or_else(|| format!("{}:{}", integration.as_str(), context.occasion.to_rfc3339()));
        let after = payload.cursor.unwrap_or(Uuid::nil());
        let page = self.db.syncs_due(integration, context.now(), after, sweep::PAGE).await?;
        let rest = page.next.map(|cursor| {
            let sweep_id = Some(sweep_id.clone());
            (cursor, payload::AdaptiveSync { integration_type: integration, cursor: Some(cursor), sweep_id })
        });
        let users = page.users.iter().copied();
        let summary = match integration {
            Integration::GoogleCalendar => {
                let syncs = users.map(|user_id| (user_id, calendar_sync(user_id)));
                sweep::fan_out(&self.tasks, &sweep_id, syncs, rest).await?
            }
            Integration::GoogleContacts => {
                let syncs = users.map(|user_id| (user_id, contacts_sync(user_id)));
                sweep::fan_out(&self.tasks, &sweep_id, syncs, rest).await?
            }
        };
        Ok(Outcome::done(Swept {
            due: page.users.len(),
            created: summary.created,
            existing: summary.existing,
            continued: page.next.is_some(),
        }))
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
