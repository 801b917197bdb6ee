//! A project in the local cloud: all functions as services of Cloud Run, the application's queues and database, its own service
//! as a stand-in, and `scripts/ops` with gcloud.

use std::collections::BTreeMap;
use std::net::SocketAddr;
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

use crate::people::People;
use crate::tasks;

/// Leases of six seconds.
const LEASE_DIVISOR: u32 = 10;
const WEBHOOKS: &str = webhooks::SERVICE.name;
const WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(15);
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);
/// Of the queues' tokens. All functions have the same environment here.
const AUDIENCE: &str = "http://functions.localhost";
/// Versions of the images: this checkout's, and that of the last release.
const THIS: &str = "this";
const LAST: &str = "last";

pub(crate) struct Project {
    // Dropped in this order: who creates tasks first.
    pub(crate) predecessor: Predecessor,
    pub(crate) google_cloud: GoogleCloud,
    pub(crate) cloud: LocalCloud,
    pub(crate) database: PgPool,
    pub(crate) people: People,
    functions: BTreeMap<&'static str, SocketAddr>,
    ops: PathBuf,
    variables: Vec<(String, String)>,
    _receiver: GoogleCloud,
    folder: TempDir,
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
            std::os::unix::fs::symlink(program, path("images").join(name).join(THIS))?;
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
        let image = |name: &str| format!("{}/{name}:{THIS}", containers::REGISTRY);
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
        let predecessor = Predecessor::start(cloud.database())?;
        // What a function creates names the old service, too, until that is retired.
        environment.insert("CLOUD_RUN_URL", predecessor.url());
        let audiences = queues::all().map(|queue| settings.function_url(queue));
        environment.insert(
            "OIDC_AUDIENCES",
            [AUDIENCE.to_owned()].into_iter().chain(audiences).collect::<Vec<_>>().join(","),
        );
        // Who is killed here leaves leases, and tasks that are rescheduled.
        environment.insert("RETRY_BACKOFF_DIVISOR", "100".to_owned());
        let google_cloud = start(environment)?;

        let database = PgPoolOptions::new().max_connections(4).connect(cloud.database().as_str()).await?;
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
        let mut project = Self {
            predecessor,
            google_cloud,
            functions: BTreeMap::new(),
            ops: folder.join("ops"),
            variables: variables.collect(),
            people: People::keep(database.clone()).await?,
            database,
            cloud,
            _receiver: receiver,
            folder: temporary,
        };
        for queue in queues::all() {
            let timeout = queue.policy().dispatch_deadline();
            let address =
                project.google_cloud.create_service(queue.name(), timeout, &image(queue.name())).await?;
            project.functions.insert(queue.name(), address);
            project.as_the_application_has_it(queue).await?;
        }
        Ok(project)
    }

    pub(crate) fn handover(&self, queue: Queue) -> Handover<'_> {
        Handover::new(self.cloud.tasks(), queue, self.predecessor.url())
    }

    /// A queue of the application, after the first `terraform apply`; our schedules are there, and paused.
    async fn as_the_application_has_it(&self, queue: Queue) -> anyhow::Result<()> {
        let handover = self.handover(queue);
        let limits = json!({ "rateLimits": { "maxConcurrentDispatches": concurrent_dispatches(queue)? } });
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

    /// Where the function of a queue is.
    pub(crate) fn function(&self, queue: Queue) -> anyhow::Result<SocketAddr> {
        self.functions.get(queue.name()).copied().with_context(|| format!("{} has no service", queue.name()))
    }

    /// Half of each function's tasks go to the last release, whose programs are in `folder`.
    pub(crate) async fn mix_with(&self, folder: &Path) -> anyhow::Result<()> {
        let folder = folder.canonicalize().context("the folder of the last release")?;
        let http = shared::http::client(HTTP_TIMEOUT, HTTP_TIMEOUT);
        let (google_cloud, project) = (self.google_cloud.url(), &self.cloud.tasks().settings().project);
        for name in queues::all().map(Queue::name) {
            let program = folder.join(name);
            ensure!(program.exists(), "{name} is not built in {}", folder.display());
            std::os::unix::fs::symlink(program, self.folder.path().join("images").join(name).join(LAST))?;
            let url =
                format!("{google_cloud}/apis/serving.knative.dev/v1/namespaces/{project}/services/{name}");
            let mut service: Value = http.get(&url).send().await?.error_for_status()?.json().await?;
            let serving = service["status"]["latestReadyRevisionName"].take();
            let image = format!("{}/{name}:{LAST}", containers::REGISTRY);
            service["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
            service["spec"]["traffic"] = json!([{ "revisionName": serving, "percent": 50 }, { "latestRevision": true, "percent": 50 }]);
            http.put(&url).json(&service).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// Tasks that each revision of a function ran to their end.
    pub(crate) fn ends_by_revision(&self, queue: Queue) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut ends = BTreeMap::new();
        for entry in self.folder.path().join("logs").read_dir()? {
            let path = entry?.path();
            let revision = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if revision.strip_prefix(queue.name()).is_some_and(|rest| rest.starts_with("-0")) {
                let log = std::fs::read_to_string(&path)?;
                ends.insert(revision.to_owned(), log.lines().filter(|line| tasks::is_end(line)).count());
            }
        }
        Ok(ends)
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
}

/// Tasks of the queue that run at a time: as many as its service can hold.
pub(crate) fn concurrent_dispatches(queue: Queue) -> anyhow::Result<usize> {
    let functions: Value = serde_json::from_str(include_str!("../../../../infra/gcp/functions.json"))?;
    let scaling = &functions["functions"][queue.name()];
    let number = |name: &str| scaling[name].as_u64().and_then(|number| usize::try_from(number).ok());
    let concurrent =
        number("concurrency").zip(number("maxInstances")).map(|(each, instances)| each * instances);
    concurrent.with_context(|| format!("infra/gcp/functions.json has no {}", queue.name()))
}
