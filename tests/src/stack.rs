//! Real servers for one test, and a function's router among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use local_cloud::tasks::Settings;
use local_cloud::{Background, CloudTasks, Redis};
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::config::Config;
use shared::db;
use shared::db::bulks::{Bulks, NewBulk};
use shared::db::operator_actions::{Action, Pace, Via};
use shared::job::{Job, Setup};
use shared::payload::Payload;
use shared::queue::Queue;
use shared::replay;
use shared::runtime::{self, Shutdown};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use upstash_gateway::{Billing, Unkindness};
use url::Url;
use uuid::Uuid;

use crate::clock::AheadClock;
use crate::database::Database;
use crate::issuer::{CALLER, Issuer};
use crate::upstash::{Upstash, ask};
use crate::wait::within;

pub use crate::database::postgres;
pub use crate::upstash::REDIS_TOKEN;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_WAIT: Duration = Duration::from_secs(20);
/// No task of a test is dispatched more often.
const MAX_DISPATCHES: usize = 60;
const POLL: Duration = Duration::from_millis(10);
const CONCURRENT_TAKES: usize = 8;

/// Asks the Redis at `url`.
pub async fn redis(url: &str, command: &[&str]) -> redis::Value {
    ask(url, command).await
}

/// Postgres with a database of one's own, Redis behind a gateway, Cloud Tasks with paused queues, and an issuer.
pub struct Stack {
    /// Where the test's database is; it is gone when the stack is dropped.
    pub database: Url,
    owned: Database,
    /// Redis itself.
    pub redis: Redis,
    /// Redis over HTTP.
    pub gateway: Background,
    /// What Upstash would bill.
    pub billing: Arc<Billing>,
    /// What Upstash may do to its clients: replica lag, lost writes, evictions, the quota.
    pub unkind: Arc<Unkindness>,
    /// Cloud Tasks; nothing is dispatched until a test says so.
    pub tasks: CloudTasks,
    /// Who signs the tokens of [`Service::deliver`].
    pub issuer: Issuer,
    time: AheadClock,
    http: reqwest::Client,
}

impl Stack {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    /// Starts everything, with Cloud Tasks as `settings` says.
    pub async fn start_with(settings: Settings) -> Self {
        let owned = Database::new().await;
        let Upstash { redis, gateway, billing, unkind } =
            Upstash::start_with(|config| config.count_script_calls = true).await;
        Self {
            database: owned.url.clone(),
            owned,
            redis,
            gateway,
            billing,
            unkind,
            tasks: CloudTasks::start(settings).await.expect("Cloud Tasks starts"),
            issuer: Issuer::start(),
            time: AheadClock::default(),
            http: shared::http::client(TIMEOUT, TIMEOUT),
        }
    }

    /// Lets time pass for the services of this stack, and for nothing else.
    pub fn advance(&self, seconds: i64) {
        self.time.advance(TimeDelta::seconds(seconds));
    }

    /// Lets time pass until the next noon, UTC: a test of text messages must not depend on the hour at which it runs.
    pub fn advance_to_noon(&self) {
        let noon = self.now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::hours(12);
        let ahead = if noon < self.now() { noon + TimeDelta::days(1) } else { noon } - self.now();
        self.advance(ahead.num_seconds() + 1);
    }

    /// Undoes every [`Stack::advance`]. Cloud Tasks, which has the machine's time, takes no task for a month from then.
    pub fn reset_clock(&self) {
        self.time.reset();
    }

    fn clock(&self) -> Clock {
        self.time.clock()
    }

    /// Asks Redis itself, past the gateway.
    pub async fn redis(&self, command: &[&str]) -> redis::Value {
        redis(self.redis.url(), command).await
    }

    /// The environment of a function.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("DATABASE_URL", self.database.to_string()),
            ("UPSTASH_REDIS_REST_URL", self.gateway.url()),
            ("UPSTASH_REDIS_REST_TOKEN", REDIS_TOKEN.to_owned()),
            ("GCP_PROJECT_ID", self.tasks.settings().project.clone()),
            ("GCP_REGION", self.tasks.settings().region.clone()),
            ("CLOUD_RUN_URL", self.tasks.settings().functions_url.clone()),
            ("CLOUD_TASKS_URL", self.tasks.url()),
            ("SERVICE_ACCOUNT_EMAIL", CALLER.to_owned()),
            ("OIDC_ISSUER", self.issuer.url()),
            ("OIDC_JWKS_URL", self.issuer.jwks_url()),
        ])
    }

    /// The job behind its real layers.
    pub fn service<J: Job>(&self, job: J) -> Service {
        self.service_with(job, [])
    }

    /// The job behind its real layers, with other values for some variables.
    pub fn service_with<J: Job>(
        &self,
        job: J,
        other: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Service {
        self.service_of(job, self.setup(other))
    }

    /// The same with a clock of its own, which differs from the others by so many milliseconds.
    pub fn service_with_clock<J: Job>(
        &self,
        job: J,
        other: impl IntoIterator<Item = (&'static str, String)>,
        off_ms: &Arc<AtomicI64>,
    ) -> Service {
        let (off_ms, clock) = (Arc::clone(off_ms), self.clock());
        let clock =
            Clock::from_fn(move || clock.now() + TimeDelta::milliseconds(off_ms.load(Ordering::SeqCst)));
        let mut environment = self.environment();
        environment.extend(other);
        self.service_of(job, Setup::with_clock(Config::from_pairs(environment), clock))
    }

    fn service_of<J: Job>(&self, job: J, mut setup: Setup) -> Service {
        let (router, shutdown) = runtime::router(job, &mut setup)
            .unwrap_or_else(|_| panic!("the environment cannot be used: {:?}", setup.config().problems()));
        let queue = J::Payload::QUEUE;
        let audience = self.tasks.settings().function_url(queue);
        Service { router, shutdown, queue, token: self.issuer.token(&audience), audience }
    }

    /// What a function's own job is made from, with other values for some variables.
    #[must_use]
    pub fn setup(&self, other: impl IntoIterator<Item = (&'static str, String)>) -> Setup {
        let mut environment = self.environment();
        environment.extend(other);
        Setup::with_clock(Config::from_pairs(environment), self.clock())
    }

    /// A connection to the test's database.
    pub async fn connect(&self) -> PgConnection {
        self.owned.connect().await
    }

    /// Runs statements in the test's database.
    pub async fn run(&self, sql: &str) {
        self.owned.run(sql).await;
    }

    /// All rows of a query in the test's database.
    pub async fn rows<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(&self, sql: &str) -> Vec<T> {
        self.owned.rows(sql).await
    }

    /// Of the only sweep: tasks, succeeded, failed, and whether too many failed.
    pub async fn sweep(&self) -> (i64, i64, i64, bool) {
        let mut rows = self.rows("SELECT tasks, succeeded, failed, high_failure_rate FROM jobs.sweeps").await;
        assert_eq!(rows.len(), 1, "one sweep");
        rows.remove(0)
    }

    /// Keeps everybody from making suggestions for a user until it is dropped, as a run that takes long would.
    pub async fn hold_suggestions(&self, user: Uuid) -> PgConnection {
        let mut lock = self.connect().await;
        sqlx::query("SELECT pg_advisory_lock(hashtextextended('suggestions:' || $1::text, 0))")
            .bind(user)
            .execute(&mut lock)
            .await
            .expect("no other process has the lock");
        lock
    }

    /// Waits until the sessions that were terminated are over, and the service and its job have noticed: neither asks a
    /// connection that it used a moment ago whether it is still there.
    pub async fn until_sessions_are_over(&self, service: &Service, job: &db::Database) {
        let others = "SELECT FROM pg_stat_activity
                      WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let wait = async {
            while !self.rows::<()>(others).await.is_empty() {
                sleep(POLL).await;
            }
            let ready =
                || Request::get("/health/ready").body(Body::empty()).expect("the request is well formed");
            while service.send(ready()).await.status != 200 || job.ping().await.is_err() {
                sleep(POLL).await;
            }
        };
        timeout(MAX_WAIT, wait).await.expect("the service is ready");
    }

    /// Waits until a run waits for a lock that another session holds.
    pub async fn until_a_session_waits(&self) {
        let waiting = "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                       WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
        let waits = async || !self.rows::<()>(waiting).await.is_empty();
        within(MAX_WAIT, "a run waits for the lock", waits).await;
    }

    /// The recorded runs of all tasks, in their order: life, kind, reason.
    pub async fn failures(&self) -> Vec<(i32, String, String)> {
        self.rows("SELECT life, kind, reason FROM jobs.failures ORDER BY life, at, run").await
    }

    /// Delivers a task, then its successors, each at the time it is scheduled for, until there are none; returns what
    /// each dispatch was answered.
    pub async fn follow(&self, service: &Service, delivery: Delivery) -> Vec<Answer> {
        let mut answers = vec![service.deliver(delivery).await];
        loop {
            let mut next = self.take_tasks(service.queue).await;
            assert!(next.len() <= 1, "a task has one successor at most: {next:?}");
            let Some(next) = next.pop() else { return answers };
            assert!(answers.len() < MAX_DISPATCHES, "a task without an end: {answers:?}");
            self.advance_to(next.due);
            answers.push(service.deliver(next).await);
        }
    }

    /// Has all runs of a task failed but one, and returns its next dispatch.
    pub async fn but_for_one(&self, queue: Queue, delivery: Delivery) -> Delivery {
        let key = format!("{}:{}", queue.name(), delivery.task);
        self.run(&format!(
            "INSERT INTO jobs.failures
                (function, key, life, run, kind, reason, error, fingerprint, revision, instance, alone, began_at, at)
             SELECT '{}', '{key}', 0, gen_random_uuid(), 'failed', 'transient', '', '', '', '', false, now(), now()
             FROM generate_series(2, {})",
            queue.name(),
            queue.policy().attempts,
        ))
        .await;
        delivery.again(1)
    }

    /// Lets time pass until then, if that is ahead.
    pub fn advance_to(&self, then: Option<DateTime<Utc>>) {
        if let Some(then) = then {
            self.time.advance_to(then);
        }
    }

    /// What the services of this stack take for the present moment.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.clock().now()
    }

    /// The dead letters: state, reason, body.
    pub async fn dead_letters(&self) -> Vec<(String, String, Vec<u8>)> {
        self.rows("SELECT state, reason, body FROM jobs.dead_letters ORDER BY created_at").await
    }

    /// Takes the tasks that wait in a queue: their names and bodies.
    pub async fn take_tasks(&self, queue: Queue) -> Vec<Delivery> {
        let tasks = self.tasks.list(queue).await.expect("Cloud Tasks answers");
        let taken = tasks.into_iter().map(|task| async move {
            let path = task["name"].as_str().expect("tasks have names");
            let name = path.rsplit('/').next().expect("a path has a last part");
            let due = task["scheduleTime"].as_str().and_then(|time| time.parse().ok());
            Delivery { due, ..Delivery::new(self.take_task(path).await).task(name) }
        });
        stream::iter(taken).buffered(CONCURRENT_TAKES).collect().await
    }

    /// Begins to replay a dead letter, as an operator does; returns the id of the bulk.
    pub async fn begin_replay(&self, dead_letter: &str) -> Uuid {
        let (id, ids) = (Uuid::new_v4(), [dead_letter.to_owned()]);
        let new = NewBulk {
            id,
            action: Action::Replay,
            via: Via::CommandLine,
            filter: &json!({ "ids": ids }),
            why: "",
            ids: &ids,
            pace: Pace { rate: 1, again: false },
        };
        self.owned.of::<Bulks>().begin(&new, self.now()).await.expect("Postgres answers");
        id
    }

    /// Continues a replay; returns what became of the dead letter.
    pub async fn continue_replay(&self, queue: Queue, bulk: Uuid) -> String {
        let create = async |begun| {
            let (name, body) = replay::task(queue, &begun);
            self.create_task(queue, name, body).await;
            Ok::<_, db::Error>(Ok(()))
        };
        let bulks = self.owned.of::<Bulks>();
        replay::replay(&bulks, bulk, 1, self.now(), create).await.expect("Postgres answers");
        bulks.members(bulk, 1).await.expect("Postgres answers").remove(0).outcome
    }

    /// Replays a dead letter; returns what became of it.
    pub async fn replay(&self, queue: Queue, dead_letter: &str) -> String {
        self.continue_replay(queue, self.begin_replay(dead_letter).await).await
    }

    /// Creates a task of that name, or finds it.
    pub async fn create_task(&self, queue: Queue, name: String, body: Vec<u8>) {
        let settings = self.tasks.settings();
        let parent = format!("{}/queues/{}", settings.parent(), queue.cloud_name());
        let task = json!({ "task": {
            "name": format!("{parent}/tasks/{name}"),
            "httpRequest": { "url": settings.function_url(queue), "body": STANDARD.encode(body) },
        } });
        let url = format!("{}/v2/{parent}/tasks", self.tasks.url());
        let http = shared::http::client(TIMEOUT, TIMEOUT);
        let status = http.post(url).json(&task).send().await.expect("Cloud Tasks answers").status();
        assert!(status.is_success() || status.as_u16() == 409, "{status}");
    }

    /// Removes the task at `path` and returns its body.
    async fn take_task(&self, path: &str) -> String {
        let url = format!("{}/v2/{path}", self.tasks.url());
        let task =
            self.http.get(format!("{url}?responseView=FULL")).send().await.expect("Cloud Tasks answers");
        let task: Value = task.json().await.expect("tasks are JSON");
        self.http
            .delete(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .expect("the task is there");
        let body = STANDARD.decode(task["httpRequest"]["body"].as_str().expect("tasks have bodies"));
        String::from_utf8(body.expect("bodies are base64")).expect("bodies are JSON")
    }
}

/// A job's router.
#[derive(Clone)]
pub struct Service {
    /// The routes.
    pub router: Router,
    /// Stops the job.
    pub shutdown: Shutdown,
    /// Whose job.
    pub queue: Queue,
    /// The audience of its callers.
    pub audience: String,
    token: String,
}

/// One dispatch of a task.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Short name.
    pub task: String,
    /// Attempts so far.
    pub retry_count: u32,
    /// The body.
    pub body: String,
    /// When it was due.
    pub due: Option<DateTime<Utc>>,
    /// `None` shows an honest token.
    pub authorization: Option<String>,
    /// `None` is the job's own path.
    pub path: Option<String>,
}

impl Delivery {
    /// The first dispatch of a task with that body.
    pub fn new(body: impl Into<String>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let task = format!("task-{number}");
        Self { task, retry_count: 0, body: body.into(), due: None, authorization: None, path: None }
    }

    /// The first dispatch of a queue's task with that payload.
    #[must_use]
    pub fn of(queue: Queue, data: &Value) -> Self {
        Self::new(json!({ "data": data, "jobName": queue.name() }).to_string())
    }

    /// The payload.
    #[must_use]
    pub fn data(&self) -> Value {
        let envelope: Value = serde_json::from_str(&self.body).expect("bodies are JSON");
        envelope["data"].clone()
    }

    /// Of that name.
    #[must_use]
    pub fn task(mut self, name: &str) -> Self {
        name.clone_into(&mut self.task);
        self
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> Value {
        serde_json::from_str(&self.body).expect("bodies are JSON")
    }

    /// What Cloud Tasks says in headers about a dispatch from `queue`.
    #[must_use]
    pub fn headers(&self, queue: Queue) -> [(&'static str, String); 4] {
        [
            ("x-cloudtasks-queuename", queue.cloud_name()),
            ("x-cloudtasks-taskname", self.task.clone()),
            ("x-cloudtasks-taskretrycount", self.retry_count.to_string()),
            ("x-cloudtasks-tasketa", eta(self.due)),
        ]
    }

    /// The same task, dispatched again after so many attempts.
    #[must_use]
    pub fn again(mut self, retry_count: u32) -> Self {
        self.retry_count = retry_count;
        self
    }
}

/// `X-CloudTasks-TaskETA`; empty is as good as absent.
fn eta(due: Option<DateTime<Utc>>) -> String {
    due.map(|due| format!("{}.{:06}", due.timestamp(), due.timestamp_subsec_micros())).unwrap_or_default()
}

/// What a function answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// The outcome that the body names.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    /// Checks that the job was done with that result.
    #[track_caller]
    pub fn check_done(&self, result: &Value) {
        assert_eq!((self.status, self.outcome()), (200, "done"), "{self:?}");
        assert_eq!(&self.body["result"], result);
    }

    /// The reason that the body names.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

impl Service {
    /// Delivers a task as Cloud Tasks does.
    pub async fn deliver(&self, delivery: Delivery) -> Answer {
        let headers = delivery.headers(self.queue);
        let path = delivery.path.unwrap_or_else(|| self.queue.path());
        let authorization = delivery.authorization.unwrap_or_else(|| format!("Bearer {}", self.token));
        let request = Request::post(path)
            .header("authorization", authorization)
            .header("content-type", "application/json");
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        self.send(request.body(Body::from(delivery.body)).expect("the request is well formed")).await
    }

    /// Sends any request.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("routers do not fail");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("the answer is whole").to_bytes();
        let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Answer {
            status: head.status.as_u16(),
            retry_after,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }
}
