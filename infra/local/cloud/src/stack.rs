//! The whole local cloud, composed: one world, one database, all functions that were built.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use google_stand_in::{SeedOptions, World};
use messaging_stand_in::Inbox;
use serde_json::Value;
use shared::queue::{Queue, Schedule};
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

use crate::background::Background;
use crate::consumption::Consumption;
use crate::environment::{Endpoints, Environment};
use crate::functions::{self, FunctionProcess, ServiceProcess, TaskLine};
use crate::health::check_disk;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::reports::{Manner, Reports};
use crate::seed::{self, Seeded, Variety};
use crate::simulated_time::SimulatedTime;
use crate::tasks::{CloudTasks, Settings};

/// The service that takes push notifications, and where.
const WEBHOOKS: &str = webhooks::SERVICE.name;
const PUSH_PATH: &str = webhooks::google_calendar::PATHS[0];
const POLL: Duration = Duration::from_millis(200);

/// What the local cloud is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// A server for a database of our own; a private one otherwise.
    pub postgres: Option<Url>,
    /// A Redis of which an empty database is used; a private one otherwise.
    pub redis: Option<Url>,
    /// A database that the application made, instead of one of our own.
    pub existing: Option<Existing>,
    /// The world.
    pub world: SeedOptions,
    /// What is in the database before the first task.
    pub variety: Variety,
    /// Backoffs of the queues are divided by this.
    pub backoff_divisor: u32,
    /// Debounce windows are divided by this; 1 is as in production.
    pub debounce_divisor: u32,
    /// Times of leases are divided by this; 1 is as in production.
    pub lease_divisor: u32,
    /// Folder of the functions' programs; without it, the caller runs the functions.
    pub programs: Option<PathBuf>,
    /// Folder for their logs.
    pub logs: PathBuf,
}

/// A database of the application, or a copy of one. The schema `jobs` is added to it, and it is left as it is then.
#[derive(Debug, Clone)]
pub struct Existing {
    /// Where it is.
    pub database: Url,
    /// Key of the tokens in it, 64 hexadecimal digits.
    pub encryption_key: String,
    /// What the functions are told instead of the addresses of stand-ins.
    pub environment: Environment,
}

/// A running local cloud. Dropping it ends everything that it started, functions first.
#[derive(Debug)]
pub struct LocalCloud {
    // Dropped in this order.
    parts: Parts,
    servers: Servers,
    logs: PathBuf,
}

/// How far the queues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    /// Tasks in queues that run.
    pub waiting: usize,
    /// Dispatches so far.
    pub dispatched: usize,
}

/// What the queues have to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingWork {
    /// The queues that have tasks.
    pub queues: Vec<Queue>,
    /// All tasks.
    pub waiting: usize,
    /// Tasks whose time has come, those under way included.
    pub due: usize,
    /// When the next of the others is due.
    pub next: Option<DateTime<Utc>>,
    /// Dispatches so far.
    pub dispatched: usize,
}

/// The servers without the functions: what fails here is a matter of what is installed and configured.
#[derive(Debug)]
pub struct Servers {
    redis: Redis,
    postgres: Postgres,
    database: Url,
}

impl Servers {
    /// Starts or finds both servers and prepares a database.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.logs).context("cannot make a folder for the logs")?;
        check_disk(&options.logs)?;
        let log = |name: &str| options.logs.join(name);
        let redis = Redis::start_with_log(options.redis.as_ref(), Some(&log("redis.log"))).await?;
        if let Some(Existing { database, .. }) = &options.existing {
            let postgres = Postgres::start(Some(database)).await?;
            crate::postgres::migrate(database).await?;
            return Ok(Self { redis, postgres, database: database.clone() });
        }
        let postgres =
            Postgres::start_with_log(options.postgres.as_ref(), Some(&log("postgres.log"))).await?;
        let name = format!("local_cloud_{}", Uuid::new_v4().simple());
        let database = postgres.create_empty_database(&name).await?;
        crate::postgres::prepare(&database).await?;
        Ok(Self { redis, postgres, database })
    }

    /// An error that says which server does not answer, or which disk is full.
    async fn check(&mut self, logs: &Path) -> anyhow::Result<()> {
        self.postgres.check().await?;
        self.redis.check().await?;
        check_disk(self.postgres.folder().unwrap_or(logs))?;
        check_disk(logs)
    }
}

/// What runs on the servers.
#[derive(Debug)]
struct Parts {
    // Dropped in this order.
    functions: Vec<FunctionProcess>,
    webhooks: Option<ServiceProcess>,
    tasks: CloudTasks,
    gateway: Background,
    google: Background,
    messaging: Background,
    redis_token: String,
    world: World,
    inbox: Inbox,
    seeded: Seeded,
    environment: Environment,
}

impl Parts {
    async fn start(options: &Options, servers: &Servers) -> anyhow::Result<Self> {
        let Servers { redis, database, .. } = servers;
        let world = World::seeded(options.world.clone());
        let inbox = Inbox::default();
        let existing = options.existing.as_ref();
        let encryption_key =
            existing.map_or_else(seed::new_encryption_key, |existing| existing.encryption_key.clone());
        let mut seeded = seed::seed(database, &world, &encryption_key, options.variety).await?;
        let google = serve_google(&world)?;
        let messaging = serve_messaging(&inbox)?;
        let redis_token = Uuid::new_v4().simple().to_string();
        let gateway = serve_gateway(redis.url(), &redis_token)?;
        let tasks = CloudTasks::start(Settings {
            backoff_divisor: options.backoff_divisor,
            debounce_divisor: options.debounce_divisor,
            lease_divisor: options.lease_divisor,
            ..Settings::default()
        })
        .await?;
        let endpoints = Endpoints {
            database: database.as_str(),
            redis_url: &gateway.url(),
            redis_token: &redis_token,
            tasks_url: &tasks.url(),
            oidc_issuer: &tasks.url(),
            oidc_jwks_url: &tasks.jwks_url(),
            google_url: &google.url(),
            messaging_url: &messaging.url(),
            encryption_key: &encryption_key,
            ..Endpoints::unreachable(tasks.settings())
        };
        let webhooks_address = functions::free_address()?;
        let webhooks_url = format!("http://{webhooks_address}");
        let endpoints = Endpoints { webhooks_url: &webhooks_url, ..endpoints };
        // What receives push notifications opens no channel, and need not know where they are sent.
        let webhooks = match &options.programs {
            Some(programs) => {
                start_webhooks(webhooks_address, programs, &options.logs, &endpoints.environment()).await?
            }
            None => None,
        };
        let push_url = webhooks.as_ref().map_or_else(|| endpoints.push_url.to_owned(), push_url);
        seed::open_channels(database, &world, &mut seeded, &push_url).await?;
        let mut environment = Endpoints { push_url: &push_url, ..endpoints }.environment();
        environment.extend(existing.map(|existing| existing.environment.clone()).unwrap_or_default());
        let functions = match &options.programs {
            Some(programs) => start_functions(programs, &options.logs, &environment).await?,
            None => Vec::new(),
        };
        for function in &functions {
            tasks.route(function.queue(), function.address()).await?;
        }
        Ok(Self {
            functions,
            webhooks,
            tasks,
            gateway,
            google,
            messaging,
            redis_token,
            world,
            inbox,
            seeded,
            environment,
        })
    }
}

impl LocalCloud {
    /// Seeds the database, starts the stand-ins and the functions, and lets the queues run.
    ///
    /// When one of the servers is the reason of an error, the error says so.
    pub async fn start(options: &Options, mut servers: Servers) -> anyhow::Result<Self> {
        match Parts::start(options, &servers).await {
            Ok(parts) => Ok(Self { parts, servers, logs: options.logs.clone() }),
            Err(error) => Err(servers.check(&options.logs).await.err().unwrap_or(error)),
        }
    }

    /// Creates the task of a schedule, as Cloud Scheduler would.
    pub async fn run_schedule(&self, queue: Queue, schedule: &Schedule) -> anyhow::Result<()> {
        self.parts.tasks.create_scheduled(queue, schedule).await
    }

    /// Creates the task of every schedule of `queue`.
    pub async fn run_schedules(&self, queue: Queue) -> anyhow::Result<()> {
        for schedule in &queue.policy().schedules {
            self.run_schedule(queue, schedule).await?;
        }
        Ok(())
    }

    /// Waits until no running queue holds a task, and tells `progress` how far they are.
    ///
    /// Two looks in a row must find nothing, and no dispatch between them: while one queue is looked at, a task of
    /// another may create one in it.
    pub async fn until_idle(
        &mut self,
        limit: Duration,
        progress: impl FnMut(QueueStatus),
    ) -> anyhow::Result<()> {
        self.until_empty(|_| true, limit, progress).await
    }

    /// Waits until one queue holds no task; what its tasks created in others may wait for its time.
    pub async fn until_done(&mut self, queue: Queue, limit: Duration) -> anyhow::Result<()> {
        self.until_empty(|one| one == queue, limit, |_| {}).await
    }

    async fn until_empty(
        &mut self,
        concerns: impl Fn(Queue) -> bool,
        limit: Duration,
        mut progress: impl FnMut(QueueStatus),
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut before = None;
        loop {
            let status = self.queue_status_of(&concerns).await?;
            progress(status);
            if status.waiting == 0 && before == Some(status) {
                return Ok(());
            }
            self.check().await?;
            if Instant::now() > deadline {
                bail!(self.left().await?);
            }
            before = Some(status);
            sleep(POLL).await;
        }
    }

    /// An error that says which function or server does not run any more, or which disk is full; where its log is; and
    /// what to do.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        // What is wrong with these is the reason of what happens to the functions.
        self.servers.check(&self.logs).await?;
        self.parts.functions.iter_mut().try_for_each(|function| function.check())?;
        self.parts.webhooks.as_mut().map_or(Ok(()), ServiceProcess::check)
    }

    /// Says which tasks are left: a line per queue that has some, with how its dispatches ended and its log.
    pub async fn left(&self) -> anyhow::Result<String> {
        let (mut left, mut text) = (0, String::new());
        for function in &self.parts.functions {
            let times = self.times(function.queue()).await?;
            left += times.len();
            let Some(next) = times.iter().min() else { continue };
            let due = times.iter().filter(|at| **at <= self.parts.world.now()).count();
            let mut endings: BTreeMap<String, usize> = BTreeMap::new();
            for line in function.lines().iter().filter(|line| !line.is_end()) {
                let reason = line.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default();
                *endings.entry(format!("{}{reason}", line.outcome)).or_default() += 1;
            }
            let endings: Vec<_> =
                endings.iter().map(|(ending, count)| format!("{count} × {ending}")).collect();
            let endings = if endings.is_empty() {
                "no dispatch that failed or waits".to_owned()
            } else {
                endings.join(", ")
            };
            write!(
                text,
                "\n  {}: {} tasks, {due} of them due, the earliest at {}; so far {endings}; log: {}",
                function.queue().name(),
                times.len(),
                next.format("%F %T UTC"),
                function.log_path().display(),
            )?;
        }
        Ok(format!("{left} tasks are left at the end of the time limit:{text}"))
    }

    /// For when each task of a queue is scheduled.
    async fn times(&self, queue: Queue) -> anyhow::Result<Vec<DateTime<Utc>>> {
        let tasks = self.parts.tasks.list(queue).await?;
        let time = |task: &Value| Ok(task["scheduleTime"].as_str().context("a task has no time")?.parse()?);
        tasks.iter().map(time).collect()
    }

    /// How far the queues are.
    pub async fn queue_status(&self) -> anyhow::Result<QueueStatus> {
        self.queue_status_of(|_| true).await
    }

    async fn queue_status_of(&self, concerns: impl Fn(Queue) -> bool) -> anyhow::Result<QueueStatus> {
        let mut status = QueueStatus { waiting: 0, dispatched: 0 };
        for function in self.parts.functions.iter().filter(|function| concerns(function.queue())) {
            status.waiting += self.parts.tasks.count(function.queue()).await?;
            status.dispatched += function.dispatches();
        }
        Ok(status)
    }

    /// What the queues have to do, by the clock of the world.
    pub async fn pending_work(&self) -> anyhow::Result<PendingWork> {
        let dispatched = self.dispatched();
        let mut pending = PendingWork { queues: Vec::new(), waiting: 0, due: 0, next: None, dispatched };
        let queues = self.parts.functions.iter().map(FunctionProcess::queue);
        let times = try_join_all(queues.clone().map(|queue| self.times(queue))).await?;
        let now = self.parts.world.now();
        for (queue, times) in queues.zip(times).filter(|(_, times)| !times.is_empty()) {
            let due = times.iter().filter(|at| **at <= now).count();
            pending.queues.push(queue);
            pending.waiting += times.len();
            pending.due += due;
            pending.next = times.into_iter().filter(|at| *at > now).chain(pending.next).min();
        }
        Ok(pending)
    }

    /// What reports of the messages of this cloud, if the service that receives it was built.
    pub fn reports(&self, manner: Manner, seed: u64) -> anyhow::Result<Option<Reports>> {
        let new = |_: &ServiceProcess| Reports::new(self.environment(), manner, seed);
        self.parts.webhooks.as_ref().map(new).transpose()
    }

    /// Moves the time of everything that is here forward, in one step. To be called while no task is running; `queues` are
    /// those that have tasks.
    pub async fn advance(
        &self,
        by: TimeDelta,
        time: &mut SimulatedTime,
        queues: &[Queue],
    ) -> anyhow::Result<()> {
        time.jump(by)?;
        self.servers.redis.advance(by).await?;
        // Wakes up the queues, which sleep until their next task by another clock.
        let wake = async |queue| {
            self.parts.tasks.pause(queue).await?;
            self.parts.tasks.resume(queue).await
        };
        try_join_all(queues.iter().map(|queue| wake(*queue))).await.map(drop)
    }

    /// For whom the tasks of a queue are that wait: their payloads name a user each.
    pub async fn users_waiting(&self, queue: Queue) -> anyhow::Result<Vec<Uuid>> {
        let user =
            |payload: Value| Ok(payload["userId"].as_str().context("a task names no user")?.parse()?);
        self.parts.tasks.payloads(queue).await?.into_iter().map(user).collect()
    }

    fn dispatched(&self) -> usize {
        self.parts.functions.iter().map(|function| function.dispatches()).sum()
    }

    /// Tasks that wait in queues whose function was not built.
    pub async fn held(&self) -> anyhow::Result<Vec<(Queue, usize)>> {
        let mut held = Vec::new();
        for queue in queues::all().filter(|queue| !self.serves(*queue)) {
            held.push((queue, self.parts.tasks.count(queue).await?));
        }
        Ok(held)
    }

    /// Whether the function of a queue runs here.
    #[must_use]
    pub fn serves(&self, queue: Queue) -> bool {
        self.parts.functions.iter().any(|function| function.queue() == queue)
    }

    /// The process that serves a queue.
    pub fn function_mut(&mut self, queue: Queue) -> Option<&mut FunctionProcess> {
        self.parts.functions.iter_mut().find(|function| function.queue() == queue)
    }

    /// Cloud Tasks.
    #[must_use]
    pub fn tasks(&self) -> &CloudTasks {
        &self.parts.tasks
    }

    /// `redis://…` or `unix://…`: Redis itself, past the gateway.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        self.servers.redis.url()
    }

    /// What the functions' processes have used, by queue; nothing where the system does not tell.
    #[must_use]
    pub fn consumption(&self) -> BTreeMap<String, Consumption> {
        let of = |function: &FunctionProcess| {
            Some((function.queue().name().to_owned(), Consumption::of(function.id())?))
        };
        self.parts.functions.iter().filter_map(of).collect()
    }

    /// The canonical lines of all functions.
    #[must_use]
    pub fn lines(&self) -> Vec<TaskLine> {
        self.parts.functions.iter().flat_map(|function| function.lines()).collect()
    }

    /// The service that takes push notifications, if it was built.
    pub fn webhooks_mut(&mut self) -> Option<&mut ServiceProcess> {
        self.parts.webhooks.as_mut()
    }

    /// What Google knows.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.parts.world
    }

    /// The messages that people got.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.parts.inbox
    }

    /// What was in the database at the beginning.
    #[must_use]
    pub fn seeded(&self) -> &Seeded {
        &self.parts.seeded
    }

    /// The functions' database.
    #[must_use]
    pub fn database(&self) -> &Url {
        &self.servers.database
    }

    /// The environment of a function's process.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.parts.environment
    }

    /// Name and address of everything that listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        let mut addresses = vec![
            ("Postgres", without_password(&self.servers.database)),
            (
                "Redis",
                self.servers
                    .redis
                    .url()
                    .parse()
                    .map_or_else(|_| "(given)".to_owned(), |url| without_password(&url)),
            ),
            ("Redis over HTTP", format!("{}  token {}", self.parts.gateway.url(), self.parts.redis_token)),
            (
                "Cloud Tasks",
                format!("{}/v2/{}", self.parts.tasks.url(), self.parts.tasks.settings().parent()),
            ),
            ("Google", self.parts.google.url()),
            ("Twilio, SendGrid, inbox", self.parts.messaging.url()),
        ];
        addresses.extend(self.parts.functions.iter().map(|function| {
            let address: SocketAddr = function.address();
            (function.queue().name(), format!("http://{address}  log {}", function.log_path().display()))
        }));
        addresses.extend(self.parts.webhooks.iter().map(|webhooks| {
            (WEBHOOKS, format!("{}  log {}", push_url(webhooks), webhooks.log_path().display()))
        }));
        addresses
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        // All together; dropping each then waits for its end.
        for function in &self.parts.functions {
            function.terminate();
        }
        self.parts.webhooks.iter().for_each(ServiceProcess::terminate);
    }
}

/// A URL as it may be shown.
#[must_use]
pub fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Only a URL without a host refuses, and that has no password.
        let _has_no_host = url.set_password(Some("***"));
    }
    // Postgres takes parameters for a password, too.
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| {
            (name.to_string(), if name == "password" { "***".to_owned() } else { value.to_string() })
        })
        .collect();
    if pairs.iter().any(|(name, _)| name == "password") {
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.to_string()
}

/// Google for this world, with the OAuth client of a function's environment.
pub fn serve_google(world: &World) -> anyhow::Result<Background> {
    let world = world.clone();
    Background::start("google", move |listener| {
        google_stand_in::serve(listener, world, google_stand_in::Config::default(), std::future::pending())
    })
}

/// Twilio and `SendGrid` for this inbox, with the credentials of a function's environment.
pub fn serve_messaging(inbox: &Inbox) -> anyhow::Result<Background> {
    let inbox = inbox.clone();
    Background::start("messaging", move |listener| {
        messaging_stand_in::serve(
            listener,
            inbox,
            messaging_stand_in::Config::default(),
            std::future::pending(),
        )
    })
}

fn push_url(webhooks: &ServiceProcess) -> String {
    format!("http://{}{PUSH_PATH}", webhooks.address())
}

/// What takes Google's push notifications, if it was built.
async fn start_webhooks(
    address: SocketAddr,
    programs: &Path,
    logs: &Path,
    environment: &Environment,
) -> anyhow::Result<Option<ServiceProcess>> {
    let Some(program) = functions::program(programs, WEBHOOKS) else { return Ok(None) };
    let log = new_log(logs, WEBHOOKS)?;
    let mut webhooks = ServiceProcess::spawn_at(address, WEBHOOKS, &program, &[], environment, &log)?;
    webhooks.ready().await?;
    Ok(Some(webhooks))
}

fn new_log(logs: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let log = logs.join(format!("{name}.log"));
    std::fs::write(&log, "").context("cannot write a log")?;
    Ok(log)
}

/// Redis over HTTP.
fn serve_gateway(redis_url: &str, token: &str) -> anyhow::Result<Background> {
    let config = upstash_gateway::Config::new(redis_url, token);
    Background::start("redis-gateway", move |listener| {
        upstash_gateway::serve(listener, config, std::future::pending())
    })
}

async fn start_functions(
    programs: &Path,
    logs: &Path,
    environment: &Environment,
) -> anyhow::Result<Vec<FunctionProcess>> {
    let mut functions = Vec::new();
    for queue in queues::all() {
        if let Some(program) = functions::program(programs, queue.name()) {
            let log = new_log(logs, queue.name())?;
            functions.push(FunctionProcess::spawn(queue, &program, environment, &log)?);
        }
    }
    ensure!(
        !functions.is_empty(),
        "no function is built in {}: run cargo build --workspace",
        programs.display()
    );
    for function in &mut functions {
        function.ready().await?;
    }
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://u:hunter2@host:1/d", "postgres://u:***@host:1/d"),
            ("postgres://host/d?user=u&password=hunter2", "postgres://host/d?user=u&password=***"),
            ("redis://:hunter2@host/0", "redis://:***@host/0"),
            ("unix:///tmp/redis", "unix:///tmp/redis"),
        ] {
            assert_eq!(without_password(&url.parse().expect("a URL")), shown);
        }
    }
}
