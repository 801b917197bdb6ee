//! A project in the local cloud: all functions as services of Cloud Run, the application's queues and database, its own service
//! as a stand-in, and `scripts/ops` with gcloud.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use catchup::queues;
use google_cloud_stand_in::{Containers, GoogleCloud, containers, environment};
use google_stand_in::SeedOptions;
use local_cloud::seed::Variety;
use local_cloud::stack::{LocalCloud, Options, Servers};
use serde_json::{Value, json};
use shared::queue::Queue;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tempfile::TempDir;
use tests::handover::Handover;
use tests::predecessor::Predecessor;

/// Leases of six seconds.
const LEASE_DIVISOR: u32 = 10;
const WEBHOOKS: &str = webhooks::SERVICE.name;
const WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(15);
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);
/// Version of every image here.
const VERSION: &str = "first";

pub(crate) struct Project {
    // Dropped in this order: who creates tasks first.
    pub(crate) predecessor: Predecessor,
    pub(crate) google_cloud: GoogleCloud,
    pub(crate) cloud: LocalCloud,
    pub(crate) database: PgPool,
    ops: PathBuf,
    variables: Vec<(String, String)>,
    open: Open,
    _receiver: GoogleCloud,
    _folder: TempDir,
}

/// What the application's own jobs could harm.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct Open {
    channels: i64,
    suggestions: i64,
    tokens: i64,
    foreign_sync_tokens: i64,
}

impl Project {
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize().context("the folder of the programs")?;
        let temporary = tempfile::tempdir()?;
        let path = |name: &str| temporary.path().join(name);
        for name in ["logs", "gcloud"] {
            std::fs::create_dir_all(path(name))?;
        }
        for name in queues::all().map(Queue::name).chain([WEBHOOKS]) {
            let program = folder.join(name);
            ensure!(program.exists(), "{name} is not built in {}", folder.display());
            std::fs::create_dir_all(path("images").join(name))?;
            std::os::unix::fs::symlink(program, path("images").join(name).join(VERSION))?;
        }
        let options = Options {
            postgres: None,
            redis: None,
            existing: None,
            world: SeedOptions { users: 20, max_contacts: 50, ..SeedOptions::default() },
            // Backoffs of the declaration, which a take-over checks.
            variety: Variety::Varied,
            backoff_divisor: 1,
            debounce_divisor: 1,
            lease_divisor: LEASE_DIVISOR,
            programs: None,
            logs: path("logs"),
        };
        let cloud = LocalCloud::start(&options, Servers::start(&options).await?).await?;
        let image = |name: &str| format!("{}/{name}:{VERSION}", containers::REGISTRY);
        let settings = cloud.tasks().settings().clone();
        let start = |environment: local_cloud::Environment| {
            let containers = Containers { images: path("images"), environment, logs: path("logs") };
            GoogleCloud::start(containers, &settings.project, &settings.caller, &cloud.tasks().url())
        };
        // The receiver's address is one of the others' variables.
        let receiver = start(cloud.environment().clone())?;
        let address = receiver.create_service(WEBHOOKS, WEBHOOKS_TIMEOUT, &image(WEBHOOKS)).await?;
        let mut environment = cloud.environment().clone();
        let push_path = webhooks::google_calendar::PATHS[0];
        environment.insert("CALENDAR_WEBHOOK_URL", format!("http://{address}{push_path}"));
        // Who is killed here leaves leases, and tasks that are rescheduled.
        environment.insert("RETRY_BACKOFF_DIVISOR", "100".to_owned());
        let google_cloud = start(environment)?;

        let database = PgPoolOptions::new().max_connections(4).connect(cloud.database().as_str()).await?;
        let predecessor = Predecessor::start(cloud.database())?;
        let exports = environment::exports(
            &google_cloud.url(),
            &cloud.tasks().url(),
            &settings.project,
            &settings.region,
            &path("gcloud").display().to_string(),
            cloud.database().as_str(),
        );
        let variables = exports.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        });
        let project = Self {
            predecessor,
            google_cloud,
            ops: folder.join("ops"),
            variables: variables.collect(),
            open: Open::of(&database).await?,
            database,
            cloud,
            _receiver: receiver,
            _folder: temporary,
        };
        for queue in queues::all() {
            let timeout = queue.policy().dispatch_deadline();
            project.google_cloud.create_service(queue.name(), timeout, &image(queue.name())).await?;
            project.as_the_application_has_it(queue).await?;
        }
        Ok(project)
    }

    pub(crate) fn handover(&self, queue: Queue) -> Handover<'_> {
        Handover::new(self.cloud.tasks(), queue, self.predecessor.url())
    }

    /// A queue of the application, after the first `terraform apply`; our schedules are there, and paused.
    async fn as_the_application_has_it(&self, queue: Queue) -> anyhow::Result<()> {
        let functions = include_str!("../../../../infra/gcp/functions.json");
        let functions: Value = serde_json::from_str(functions)?;
        let scaling = &functions["functions"][queue.name()];
        let concurrent =
            scaling["concurrency"].as_u64().unwrap_or(1) * scaling["maxInstances"].as_u64().unwrap_or(1);
        let handover = self.handover(queue);
        let limits = json!({ "rateLimits": { "maxConcurrentDispatches": concurrent } });
        handover.change("rateLimits.maxConcurrentDispatches", &limits).await?;
        handover.give_back().await?;
        let http = shared::http::client(HTTP_TIMEOUT, HTTP_TIMEOUT);
        let settings = self.cloud.tasks().settings();
        let jobs = format!(
            "{}/v1/projects/{}/locations/{}/jobs",
            self.google_cloud.url(),
            settings.project,
            settings.region
        );
        for schedule in &queue.policy().schedules {
            let name = format!("{}-{}", queue.name(), schedule.name);
            let full = format!("projects/{}/locations/{}/jobs/{name}", settings.project, settings.region);
            http.post(&jobs).json(&json!({ "name": full })).send().await?.error_for_status()?;
            http.post(format!("{jobs}/{name}:pause")).json(&json!({})).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// Starts a command of `scripts/ops`; its output is in the answer.
    pub(crate) fn ops(&self, arguments: &[&str]) -> anyhow::Result<tokio::process::Child> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        tokio::process::Command::new(&self.ops)
            .args(arguments)
            .envs(self.variables.iter().cloned())
            .env("OPS_CHECKOUT", root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run ops")
    }

    /// The identity with which all queues call here.
    pub(crate) fn caller(&self) -> &str {
        &self.cloud.tasks().settings().caller
    }

    /// What is not as it was before the first queue changed hands.
    pub(crate) async fn harmed(&self) -> anyhow::Result<Option<String>> {
        let now = Open::of(&self.database).await?;
        let record = self.predecessor.record();
        let is_right = now == self.open && record.sweeps.is_empty() && record.mails.is_empty();
        Ok((!is_right).then(|| format!("{:?} became {now:?}; sweeps: {:?}", self.open, record.sweeps)))
    }
}

impl Open {
    async fn of(database: &PgPool) -> anyhow::Result<Self> {
        let open = "SELECT (SELECT count(*) FROM calendar_webhook_subscriptions) AS channels,
            (SELECT count(*) FROM suggestions WHERE status IN ('pending', 'snoozed')) AS suggestions,
            (SELECT count(*) FROM oauth_tokens t LEFT JOIN token_health h
                ON h.user_id = t.user_id AND h.integration_type = t.provider
             WHERE h.status IS DISTINCT FROM 'revoked') AS tokens,
            (SELECT count(*) FROM google_contacts_sync_state WHERE sync_token NOT LIKE 'pages of 100%') AS foreign_sync_tokens";
        Ok(sqlx::query_as(open).fetch_one(database).await?)
    }
}
