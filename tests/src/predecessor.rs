//! A stand-in of the application's own service, as far as a queue that changes hands meets it: it claims tasks by their keys,
//! answers 400 to what it wants ended, ignores whom a task names where the original does, and harms what the original harms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use catchup::queues;
use local_cloud::Background;
use serde_json::Value;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::watch;

/// What the application's queue has in the header of each dispatch.
const QUEUE: &str = "x-cloudtasks-queuename";

/// The server; it ends when this is dropped.
pub struct Predecessor {
    server: Background,
    seen: Arc<Seen>,
}

struct Seen {
    database: PgPool,
    record: Mutex<Record>,
    /// Runs wait while this is true.
    is_held: watch::Sender<bool>,
}

/// What it was asked, and what it did.
#[derive(Debug, Default, Clone)]
pub struct Record {
    /// Runs of each task that it began, by its key.
    pub runs: BTreeMap<String, u32>,
    /// Keys of the tasks that it did.
    pub done: BTreeSet<String>,
    /// Messages that it sent to contacts, by the key of the task.
    pub messages: BTreeMap<String, i64>,
    /// Tasks without a key, which it refuses.
    pub refused: u32,
    /// Whole sweeps that it ran, by queue.
    pub sweeps: BTreeMap<String, u32>,
    /// Runs under way.
    pub running: usize,
}

impl Predecessor {
    /// Starts it on the application's database.
    pub fn start(database: &url::Url) -> anyhow::Result<Self> {
        let database = PgPoolOptions::new().max_connections(2).connect_lazy(database.as_str())?;
        let seen = Arc::new(Seen { database, record: Mutex::default(), is_held: watch::channel(false).0 });
        let router = Router::new().route("/api/jobs/{job}", post(take)).with_state(Arc::clone(&seen));
        let server =
            Background::start("predecessor", |listener| async { axum::serve(listener, router).await })?;
        Ok(Self { server, seen })
    }

    /// Where producers send tasks.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What has happened so far.
    #[must_use]
    pub fn record(&self) -> Record {
        self.seen.record().clone()
    }

    /// Runs that began, and those that begin, wait until [`Predecessor::release`].
    pub fn hold(&self) {
        self.seen.is_held.send_replace(true);
    }

    /// Lets runs continue.
    pub fn release(&self) {
        self.seen.is_held.send_replace(false);
    }
}

impl Seen {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the original's job does; an error is one that it answers with 400.
    async fn run(&self, queue: &str, key: &str, data: &Value) -> Result<(), String> {
        let function = queue.trim_end_matches("-queue");
        let is = |queue: shared::queue::Queue| queue.name() == function;
        let ignores_users = [
            queues::TOKEN_REFRESH,
            queues::SUGGESTION_GENERATION,
            queues::WEBHOOK_RENEWAL,
            queues::NOTIFICATION_REMINDER,
            queues::TOKEN_HEALTH_REMINDER,
        ]
        .into_iter()
        .any(is);
        if ignores_users && !data["userId"].is_null() {
            *self.record().sweeps.entry(queue.to_owned()).or_default() += 1;
        }
        let harm = if is(queues::TOKEN_REFRESH) {
            "UPDATE token_health SET status = 'revoked', error_message = 'Calendar token refresh not yet implemented'
             WHERE integration_type = 'google_calendar' AND status IN ('valid', 'expiring_soon')"
        } else if is(queues::GOOGLE_CONTACTS_SYNC) {
            // A token that was given for pages of another size is refused by Google, for ever.
            let foreign =
                "SELECT count(*) FROM google_contacts_sync_state WHERE sync_token NOT LIKE 'pages of 100%'";
            if self.count(foreign).await? > 0 {
                return Err("400 of Google".to_owned());
            }
            "UPDATE google_contacts_sync_state SET sync_token = 'pages of 100, 1'"
        } else if is(queues::WEBHOOK_HEALTH_CHECK) {
            "DELETE FROM calendar_webhook_subscriptions"
        } else if is(queues::WEBHOOK_RENEWAL) {
            return Err("cannot work".to_owned());
        } else if is(queues::BATCH_NOTIFICATIONS) {
            // To the contact instead of the user, and again in each run.
            let sent = self.count("SELECT count(*) FROM suggestions WHERE status = 'pending'").await?;
            *self.record().messages.entry(key.to_owned()).or_default() += sent;
            return Ok(());
        } else if is(queues::SUGGESTION_GENERATION) {
            "INSERT INTO suggestions (user_id, contact_id, trigger_type, proposed_timeslot_start, proposed_timeslot_end,
                proposed_timeslot_timezone, reasoning)
             SELECT user_id, contact_id, trigger_type, proposed_timeslot_start, proposed_timeslot_end,
                proposed_timeslot_timezone, 'again' FROM suggestions s WHERE status = 'pending' AND NOT EXISTS (
                    SELECT FROM suggestions o WHERE o.contact_id = s.contact_id AND o.status = 'pending' AND o.id <> s.id)"
        } else {
            return Ok(());
        };
        sqlx::query(harm).execute(&self.database).await.map(drop).map_err(|error| error.to_string())
    }

    async fn count(&self, query: &'static str) -> Result<i64, String> {
        sqlx::query_scalar(query).fetch_one(&self.database).await.map_err(|error| error.to_string())
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: String) -> StatusCode {
    let envelope: Value = serde_json::from_str(&body).unwrap_or_default();
    let Some(key) = envelope["idempotencyKey"].as_str() else {
        seen.record().refused += 1;
        return StatusCode::BAD_REQUEST;
    };
    let n = {
        let mut record = seen.record();
        if record.done.contains(key) {
            return StatusCode::OK;
        }
        record.running += 1;
        let n = record.runs.entry(key.to_owned()).or_default();
        *n += 1;
        *n
    };
    let data = &envelope["data"];
    // The sender is not dropped before this.
    let mut is_held = seen.is_held.subscribe();
    drop(is_held.wait_for(|is_held| !is_held).await);
    let queue = headers.get(QUEUE).and_then(|name| name.to_str().ok()).unwrap_or_default();
    // As `acting` reads it: its n-th run does the n-th act, and all later ones the last.
    let acts = data["acts"].as_array().cloned().unwrap_or_default();
    let act = usize::try_from(n - 1).ok().and_then(|n| acts.get(n)).or(acts.last());
    let mut result =
        if act.is_some_and(|act| act == "succeed") { Ok(()) } else { seen.run(queue, key, data).await };
    if act.is_some_and(|act| act == "fail") {
        result = Err("no luck".to_owned());
    }
    let mut record = seen.record();
    record.running -= 1;
    match result {
        Ok(()) => {
            record.done.insert(key.to_owned());
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}
