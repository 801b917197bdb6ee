//! The local cloud with services that gcloud deploys to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use catchup::queues;
use clap::Parser;
use google_cloud_stand_in::{Containers, GoogleCloud, containers, environment};
use google_stand_in::SeedOptions;
use local_cloud::seed::Variety;
use local_cloud::stack::{self, LocalCloud, Servers};
use local_cloud::tasks::Settings;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// The service without a queue, and what its requests may take.
const WEBHOOKS: &str = webhooks::SERVICE.name;
const WEBHOOKS_TIMEOUT: Duration = Duration::from_secs(15);
/// Names the queue of deployments, which Terraform creates.
const FUNCTIONS: &str = include_str!("../../../gcp/functions.json");

/// The local cloud with Cloud Run, Cloud Scheduler and Cloud Logging, for gcloud. Everything listens on 127.0.0.1 only.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Folder of images: the program FOLDER/FUNCTION/VERSION is the image local/functions/FUNCTION:VERSION.
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Version with which each function of the folder is deployed at first.
    #[arg(long, default_value = "first", value_name = "VERSION")]
    first: String,
    /// File that gets the environment for gcloud, as a shell reads it, when everything is there.
    #[arg(long, value_name = "FILE")]
    environment: PathBuf,
    /// Folder for logs and for gcloud's configuration.
    #[arg(long, value_name = "FOLDER")]
    state: PathBuf,
    /// Users of the world.
    #[arg(long, default_value_t = 5, value_name = "N")]
    users: usize,
    /// Divide the queues' backoffs by this.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shorten_backoff: u32,
    /// Server on which a database of our own is created; without it, a private server is started.
    #[arg(long = "postgres", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<Url>,
    /// Redis of which an empty database is used; without it, a private server is started.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis: Option<Url>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = serve(&options) => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    let logs = options.state.join("logs");
    let configuration = options.state.join("gcloud");
    for folder in [&logs, &configuration] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let options_of_cloud = stack::Options {
        postgres: options.postgres.clone(),
        redis: options.redis.clone(),
        existing: None,
        world: SeedOptions { users: options.users, ..SeedOptions::default() },
        variety: Variety::Varied,
        backoff_divisor: options.shorten_backoff,
        debounce_divisor: 1,
        lease_divisor: 1,
        programs: None,
        logs: logs.clone(),
    };
    let cloud = LocalCloud::start(&options_of_cloud, Servers::start(&options_of_cloud).await?).await?;
    let tasks = cloud.tasks();
    let images =
        Containers { images: options.images.clone(), environment: cloud.environment().clone(), logs };
    let Settings { project, region, caller, .. } = tasks.settings();
    let google_cloud = GoogleCloud::start(images, project, caller, &tasks.url())?;

    let functions: Value = serde_json::from_str(FUNCTIONS)?;
    let queue = functions["deploymentQueue"].as_str().context("functions.json names no deploymentQueue")?;
    tasks.create_queue(queue).await?;

    let image = |name: &str| format!("{}/{name}:{}", containers::REGISTRY, options.first);
    let mut services = 0;
    for queue in queues::all().filter(|queue| options.images.join(queue.name()).exists()) {
        let timeout = queue.policy().dispatch_deadline();
        let address = google_cloud.create_service(queue.name(), timeout, &image(queue.name())).await?;
        tasks.route(queue, address).await?;
        services += 1;
    }
    if options.images.join(WEBHOOKS).exists() {
        google_cloud.create_service(WEBHOOKS, WEBHOOKS_TIMEOUT, &image(WEBHOOKS)).await?;
        services += 1;
    }
    ensure!(services > 0, "{} has no image of a service", options.images.display());
    let exports = environment::exports(
        &google_cloud.url(),
        &tasks.url(),
        project,
        region,
        &configuration.display().to_string(),
        cloud.database().as_str(),
    );
    std::fs::write(&options.environment, exports).context("cannot write the environment")?;
    println!("{services} services; gcloud reaches them with: source {}", options.environment.display());
    std::future::pending().await
}
