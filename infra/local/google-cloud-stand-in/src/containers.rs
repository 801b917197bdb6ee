//! Images and what runs of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use local_cloud::{Environment, ServiceProcess};
use tokio::time::sleep;

/// What images' references begin with.
pub const REGISTRY: &str = "local/functions";

/// Long enough for a machine that is busy with other things.
const STARTUP_DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The path of the startup probe in `infra/gcp`.
const STARTUP_PROBE: &str = "/health/live";

/// Starts containers. An image `…/FUNCTION:VERSION` (or `@VERSION`) is the program `FUNCTION/VERSION` in a folder.
#[derive(Debug)]
pub struct Containers {
    /// The folder.
    pub images: PathBuf,
    /// What all functions find in their environment.
    pub environment: Environment,
    /// Folder for what revisions write.
    pub logs: PathBuf,
}

impl Containers {
    /// Starts an image, and waits until its startup probe succeeds; the error says why it did not.
    pub(crate) async fn start(
        &self,
        service: &'static str,
        revision: &str,
        image: &str,
    ) -> anyhow::Result<ServiceProcess> {
        let program = self.program(service, image).with_context(|| format!("Image '{image}' not found."))?;
        let log = self.logs.join(format!("{revision}.log"));
        let mut process = ServiceProcess::spawn(service, &program, &self.environment, &log)?;
        let http = shared::http::client(PROBE_TIMEOUT, PROBE_TIMEOUT);
        let probe = format!("http://{}{STARTUP_PROBE}", process.address());
        let deadline = Instant::now() + STARTUP_DEADLINE;
        loop {
            if http.get(&probe).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(process);
            }
            if let Some(status) = process.ended()? {
                bail!("The user-provided container failed to start: it ended with {status}.");
            }
            ensure!(Instant::now() < deadline, "The user-provided container failed the startup probe.");
            sleep(POLL).await;
        }
    }

    fn program(&self, service: &str, image: &str) -> Option<PathBuf> {
        let name = image.strip_prefix(REGISTRY)?.strip_prefix('/')?;
        let (function, version) = name.split_once(['@', ':'])?;
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_:".contains(c));
        let program = self.images.join(function).join(version);
        (function == service && is_name(version) && program.exists()).then_some(program)
    }
}
