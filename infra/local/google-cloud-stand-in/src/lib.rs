//! Cloud Run, Cloud Scheduler, Cloud Logging and Cloud Monitoring on loopback, as far as gcloud and scripts/ops need them to deploy
//! a function, to shift its traffic, to run its schedules, and to read its log and its numbers.
//!
//! A revision is a real process: [`containers`] starts the program that an image stands for, [`front`] splits the tasks
//! of a service among its revisions, and the log is what they wrote. Cloud Tasks is `local_cloud`'s.
//!
//! gcloud puts the region before the host of Cloud Run's address, whatever the address is. So gcloud is configured to use this
//! server as its HTTP proxy, and every host is this one; [`environment`] has the configuration.

pub mod containers;
pub mod environment;
mod front;
mod logs;
mod monitoring;
mod rest;
mod run;
mod scheduler;
mod service;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use local_cloud::Background;

pub use containers::Containers;
use monitoring::Monitoring;
use run::Run;
use scheduler::Scheduler;

/// The servers; they end, with all revisions, when this is dropped.
#[derive(Debug)]
pub struct GoogleCloud {
    server: Background,
    run: Arc<Run>,
    monitoring: Arc<Monitoring>,
}

impl GoogleCloud {
    /// Starts them, without a service. `tasks_url` is what Cloud Tasks' address becomes in scheduled calls.
    pub fn start(
        containers: Containers,
        project: &str,
        caller: &str,
        tasks_url: &str,
    ) -> anyhow::Result<Self> {
        let run = Arc::new(Run::new(containers, project.to_owned(), caller.to_owned()));
        let scheduler = Arc::new(Scheduler::new(tasks_url.to_owned()));
        let monitoring = Arc::new(Monitoring::default());
        let knative = "/apis/serving.knative.dev/v1/namespaces/{project}";
        let location = "/v1/projects/{project}/locations/{location}";
        let prometheus = "/v1/projects/{project}/location/global/prometheus/api/v1";
        let router = Router::new()
            .route(&format!("{knative}/services"), get(run::list_services))
            .route(&format!("{knative}/services/{{service}}"), get(run::service).put(run::replace_service))
            .route(&format!("{knative}/revisions"), get(run::revisions))
            .route(&format!("{location}/services/{{service}}"), get(run::policy))
            .route("/v2/entries:list", post(logs::list))
            .with_state(Arc::clone(&run))
            .merge(
                Router::new()
                    .route(&format!("{location}/jobs"), get(scheduler::list).post(scheduler::create))
                    .route(&format!("{location}/jobs/{{job}}"), get(scheduler::job).post(scheduler::call))
                    .with_state(scheduler),
            )
            .merge(
                Router::new()
                    .route(&format!("{prometheus}/query"), get(monitoring::query))
                    .route(&format!("{prometheus}/query_range"), get(monitoring::query_range))
                    .route("/v3/projects/{project}/alerts", get(monitoring::alerts))
                    .with_state(Arc::clone(&monitoring)),
            )
            .fallback(rest::not_here);
        let server =
            Background::start("google-cloud", |listener| async { axum::serve(listener, router).await })?;
        Ok(Self { server, run, monitoring })
    }

    /// Where it listens, as an origin.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Creates a service whose requests may take so long, as Terraform does, and returns where they are to be sent.
    pub async fn create_service(
        &self,
        name: &'static str,
        timeout: Duration,
        image: &str,
    ) -> anyhow::Result<std::net::SocketAddr> {
        self.run.create(name, timeout, image).await
    }

    /// Has Cloud Monitoring count a dispatch of the last hour; where it is asked for several times, one in each of them.
    pub fn record_dispatch(&self, queue: &str, outcome: &str, ms: f64) {
        self.monitoring.record(queue, outcome, ms);
    }

    /// The same of Redis commands.
    pub fn record_lease_commands(&self, queue: &str, commands: u32) {
        self.monitoring.record_lease_commands(queue, commands);
    }

    /// Has an alert of Cloud Monitoring fire.
    pub fn open_alert(&self, policy: &str, severity: &str, queue: &str) {
        self.monitoring.open_alert(policy, severity, queue);
    }

    /// From now on Cloud Monitoring refuses calls without credentials, as Google does.
    pub fn want_credentials(&self) {
        self.monitoring.wants_credentials.store(true, Ordering::Relaxed);
    }

    /// Kills all instances of a service where they stand, and starts them again.
    pub async fn kill(&self, service: &str) -> anyhow::Result<()> {
        self.run
            .each_process(service, |process| {
                process.kill()?;
                process.respawn()
            })
            .await
    }

    /// Stops all instances of a service from doing anything until they are killed: their requests stay open.
    pub async fn freeze(&self, service: &str) -> anyhow::Result<()> {
        self.run
            .each_process(service, |process| {
                process.freeze();
                Ok(())
            })
            .await
    }

    /// Everything that the revisions of a service wrote so far.
    pub async fn log(&self, service: &str) -> anyhow::Result<String> {
        let mut log = String::new();
        self.run
            .each_process(service, |process| {
                log.push_str(&process.log());
                Ok(())
            })
            .await?;
        Ok(log)
    }
}
