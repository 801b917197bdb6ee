//! The whole local cloud, composed: one world, one database, all functions that were built.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{SeedOptions, World};
use messaging_stand_in::Inbox;
use shared::config::Config;
use shared::job::Setup;
use shared::queue::{Queue, Schedule};
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

use crate::background::Background;
use crate::consumption::Consumption;
use crate::environment::{Endpoints, Environment};
use crate::functions::{self, FunctionProcess, TaskLine};
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::seed::{self, Seeded, Variety};
use crate::simulated_time::SimulatedTime;
use crate::tasks::{CloudTasks, Settings};

const POLL: Duration = Duration::from_millis(200);

/// What the local cloud is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// A server for a database of our own; a private one otherwise.
    pub postgres: Option<Url>,
    /// A Redis of which an empty database is used; a private one otherwise.
    pub redis: Option<Url>,
    /// The world.
    pub world: SeedOptions,
    /// Backoffs of the queues are divided by this.
    pub backoff_divisor: u32,
    /// Times of leases are divided by this; 1 is as in production.
    pub lease_divisor: u32,
    /// Folder of the functions' programs; without it, the functions are somebody else's to run.
    pub programs: Option<PathBuf>,
    /// Folder for their logs.
    pub logs: PathBuf,
}

/// A running local cloud. Dropping it ends everything that it started, functions first.
#[derive(Debug)]
pub struct LocalCloud {
    // Dropped in this order.
    functions: Vec<FunctionProcess>,
    tasks: CloudTasks,
    gateway: Background,
    google: Background,
    messaging: Background,
    webhooks: Background,
    redis: Redis,
    _postgres: Postgres,
    database: Url,
    redis_token: String,
    world: World,
    inbox: Inbox,
    seeded: Seeded,
    environment: Environment,
}

/// How far the queues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Tasks in queues that run.
    pub waiting: usize,
    /// Dispatches so far.
    pub dispatched: usize,
}

/// What the queues have to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
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
        let redis = Redis::start(options.redis.as_ref()).await?;
        let postgres = Postgres::start(options.postgres.as_ref()).await?;
        let name = format!("local_cloud_{}", Uuid::new_v4().simple());
        let database = postgres.create_empty_database(&name).await?;
        crate::postgres::prepare(&database).await?;
        Ok(Self { redis, postgres, database })
    }
}

impl LocalCloud {
    /// Seeds the database, starts the stand-ins and the functions, and lets the queues run.
    pub async fn start(options: &Options, servers: Servers) -> anyhow::Result<Self> {
        let Servers { redis, postgres, database } = servers;
        let world = World::seeded(options.world.clone());
        let inbox = Inbox::default();
        let encryption_key = seed::new_encryption_key();
        let mut seeded = seed::seed(&database, &world, &encryption_key, Variety::Varied).await?;
        let google = serve_google(&world)?;
        let messaging = serve_messaging(&inbox)?;
        let redis_token = Uuid::new_v4().simple().to_string();
        let gateway = serve_gateway(redis.url(), &redis_token)?;
        let tasks = CloudTasks::start(Settings {
            backoff_divisor: options.backoff_divisor,
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
        // What receives push notifications opens no channel, and need not know its own address.
        let webhooks = serve_webhooks(&endpoints.environment())?;
        let push_url = format!("{}{}", webhooks.url(), catchup::webhooks::PATH);
        seed::open_channels(&database, &world, &mut seeded, &push_url).await?;
        let environment = Endpoints { push_url: &push_url, ..endpoints }.environment();
        let functions = match &options.programs {
            Some(programs) => start_functions(programs, &options.logs, &environment).await?,
            None => Vec::new(),
        };
        for function in &functions {
            tasks.route(function.queue(), function.address()).await?;
        }
        Ok(Self {
            functions,
            tasks,
            gateway,
            google,
            messaging,
            webhooks,
            redis,
            _postgres: postgres,
            database,
            redis_token,
            world,
            inbox,
            seeded,
            environment,
        })
    }

    /// Creates the task of a schedule, as Cloud Scheduler would.
    pub async fn run_schedule(&self, queue: Queue, schedule: &Schedule) -> anyhow::Result<()> {
        self.tasks.create_scheduled(queue, schedule).await
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
        progress: impl FnMut(Standing),
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
        mut progress: impl FnMut(Standing),
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut before = None;
        loop {
            let standing = self.standing_of(&concerns).await?;
            progress(standing);
            if standing.waiting == 0 && before == Some(standing) {
                return Ok(());
            }
            for function in &mut self.functions {
                if let Some(status) = function.ended()? {
                    bail!(
                        "{} ended with {status}; its log: {}",
                        function.queue().name(),
                        function.log_path().display()
                    );
                }
            }
            ensure!(Instant::now() < deadline, "{} tasks are left after {limit:?}", standing.waiting);
            before = Some(standing);
            sleep(POLL).await;
        }
    }

    /// How far the queues are.
    pub async fn standing(&self) -> anyhow::Result<Standing> {
        self.standing_of(|_| true).await
    }

    async fn standing_of(&self, concerns: impl Fn(Queue) -> bool) -> anyhow::Result<Standing> {
        let mut standing = Standing { waiting: 0, dispatched: 0 };
        for function in self.functions.iter().filter(|function| concerns(function.queue())) {
            standing.waiting += self.tasks.count(function.queue()).await?;
            standing.dispatched += function.dispatches();
        }
        Ok(standing)
    }

    /// What the queues have to do, by the clock of the world.
    pub async fn outlook(&self) -> anyhow::Result<Outlook> {
        let mut outlook = Outlook { due: 0, next: None, dispatched: self.dispatched() };
        for function in &self.functions {
            for task in self.tasks.list(function.queue()).await? {
                let at: DateTime<Utc> =
                    task["scheduleTime"].as_str().context("a task has no time")?.parse()?;
                if at <= self.world.now() {
                    outlook.due += 1;
                } else {
                    outlook.next = Some(outlook.next.map_or(at, |next| next.min(at)));
                }
            }
        }
        Ok(outlook)
    }

    /// Lets time pass at once, for everything that is here. To be called while nothing is under way.
    pub async fn let_pass(&self, by: TimeDelta, time: &mut SimulatedTime) -> anyhow::Result<()> {
        time.jump(by)?;
        self.redis.let_pass(by).await?;
        for function in &self.functions {
            // Wakes up the queue, which sleeps until its next task by another clock.
            self.tasks.pause(function.queue()).await?;
            self.tasks.resume(function.queue()).await?;
        }
        Ok(())
    }

    fn dispatched(&self) -> usize {
        self.functions.iter().map(FunctionProcess::dispatches).sum()
    }

    /// Tasks that wait in queues whose function was not built.
    pub async fn held(&self) -> anyhow::Result<Vec<(Queue, usize)>> {
        let mut held = Vec::new();
        for queue in queues::all().filter(|queue| !self.serves(*queue)) {
            held.push((queue, self.tasks.count(queue).await?));
        }
        Ok(held)
    }

    /// Whether the function of a queue runs here.
    #[must_use]
    pub fn serves(&self, queue: Queue) -> bool {
        self.functions.iter().any(|function| function.queue() == queue)
    }

    /// The process that serves a queue.
    pub fn function_mut(&mut self, queue: Queue) -> Option<&mut FunctionProcess> {
        self.functions.iter_mut().find(|function| function.queue() == queue)
    }

    /// Cloud Tasks.
    #[must_use]
    pub fn tasks(&self) -> &CloudTasks {
        &self.tasks
    }

    /// `redis://…` or `unix://…`: Redis itself, past the gateway.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        self.redis.url()
    }

    /// What the functions' processes have used, by queue; nothing where the system does not tell.
    #[must_use]
    pub fn consumption(&self) -> BTreeMap<String, Consumption> {
        let of = |function: &FunctionProcess| {
            Some((function.queue().name().to_owned(), Consumption::of(function.id())?))
        };
        self.functions.iter().filter_map(of).collect()
    }

    /// The canonical lines of all functions.
    #[must_use]
    pub fn lines(&self) -> Vec<TaskLine> {
        self.functions.iter().flat_map(FunctionProcess::lines).collect()
    }

    /// What Google knows.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The messages that people got.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// What was in the database at the beginning.
    #[must_use]
    pub fn seeded(&self) -> &Seeded {
        &self.seeded
    }

    /// The functions' database.
    #[must_use]
    pub fn database(&self) -> &Url {
        &self.database
    }

    /// What a function's process is told of all this.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Name and address of everything that listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        let mut addresses = vec![
            ("Postgres", self.database.to_string()),
            ("Redis", self.redis.url().to_owned()),
            ("Redis over HTTP", format!("{}  token {}", self.gateway.url(), self.redis_token)),
            ("Cloud Tasks", format!("{}/v2/{}", self.tasks.url(), self.tasks.settings().parent())),
            ("Google", self.google.url()),
            ("Push notifications", format!("{}{}", self.webhooks.url(), catchup::webhooks::PATH)),
            ("Twilio, SendGrid, inbox", self.messaging.url()),
        ];
        addresses.extend(self.functions.iter().map(|function| {
            let address: SocketAddr = function.address();
            (function.queue().name(), format!("http://{address}  log {}", function.log_path().display()))
        }));
        addresses
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        // All at once; each is then waited for when it is dropped.
        for function in &self.functions {
            function.terminate();
        }
    }
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

/// What receives Google's push notifications, as the application mounts it.
fn serve_webhooks(environment: &Environment) -> anyhow::Result<Background> {
    let mut setup =
        Setup::new(Config::from_pairs(environment.iter().map(|(name, value)| (*name, value.clone()))));
    let router = catchup::webhooks::router(&mut setup)
        .map_err(|_| anyhow!("the receiver of push notifications: {:?}", setup.config().problems()))?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    Background::start("webhooks", async |listener| axum::serve(listener, service).await)
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
    std::fs::create_dir_all(logs).context("cannot make a folder for the logs")?;
    let mut functions = Vec::new();
    for queue in queues::all() {
        if let Some(program) = functions::program(programs, queue) {
            let log = logs.join(format!("{}.log", queue.name()));
            std::fs::write(&log, "").context("cannot write a log")?;
            functions.push(FunctionProcess::spawn(queue, &program, environment, &log)?);
        }
    }
    ensure!(!functions.is_empty(), "no function was built into {}", programs.display());
    for function in &mut functions {
        function.ready().await?;
    }
    Ok(functions)
}
