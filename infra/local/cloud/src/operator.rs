//! What an operator has of the local cloud: a console, and the environment of a shell in which `scripts/ops` finds it.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use catchup::variables::{
    CALENDAR_WEBHOOK_URL, GOOGLE_API_URL, GOOGLE_TOKEN_URL, SENDGRID_FROM_EMAIL, TWILIO_PHONE_NUMBER,
};
use shared::config::Variable;
use shared::config::variables::{
    CLOUD_RUN_URL, CLOUD_TASKS_URL, DATABASE_URL, GCP_PROJECT_ID, GCP_REGION, LEASE_DIVISOR,
    RETRY_BACKOFF_DIVISOR, SERVICE_ACCOUNT_EMAIL, UPSTASH_REDIS_REST_TOKEN, UPSTASH_REDIS_REST_URL,
};
use uuid::Uuid;

use crate::environment::Environment;
use crate::functions::{ServiceProcess, free_address, program};

/// The command line, which also serves the console.
const PROGRAM: &str = "ops";
const CONSOLE: &str = "console";
/// Of all that a function knows, what an operator needs: no key of a vendor, and none of the users' tokens.
const NEEDED: [&Variable; 15] = [
    &CALENDAR_WEBHOOK_URL,
    &CLOUD_RUN_URL,
    &CLOUD_TASKS_URL,
    &DATABASE_URL,
    &GCP_PROJECT_ID,
    &GCP_REGION,
    &GOOGLE_API_URL,
    &GOOGLE_TOKEN_URL,
    &LEASE_DIVISOR,
    &RETRY_BACKOFF_DIVISOR,
    &SENDGRID_FROM_EMAIL,
    &SERVICE_ACCOUNT_EMAIL,
    &TWILIO_PHONE_NUMBER,
    &UPSTASH_REDIS_REST_TOKEN,
    &UPSTASH_REDIS_REST_URL,
];

/// A console that is yet to be started: its address is known before anything else runs.
#[derive(Debug)]
pub struct Console {
    program: PathBuf,
    address: SocketAddr,
    token: String,
}

impl Console {
    /// Chooses its address; none if the command line is not among these programs.
    pub fn reserve(programs: &Path) -> anyhow::Result<Option<Self>> {
        let Some(program) = program(programs, PROGRAM) else { return Ok(None) };
        Ok(Some(Self { program, address: free_address()?, token: Uuid::new_v4().simple().to_string() }))
    }

    /// What an operator opens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.address, self.token)
    }

    /// Starts it, and waits until it can be opened.
    pub async fn start(&self, environment: &Environment, logs: &Path) -> anyhow::Result<ServiceProcess> {
        let mut environment = needed(environment);
        environment.insert("OPS_CONSOLE_TOKEN", self.token.clone());
        environment.insert("OPS_CONSOLE_PORT", self.address.port().to_string());
        let log = logs.join("console.log");
        let mut process =
            ServiceProcess::spawn_at(self.address, CONSOLE, &self.program, &[CONSOLE], &environment, &log)?;
        process.ready().await?;
        Ok(process)
    }
}

fn needed(environment: &Environment) -> Environment {
    let needed = |name: &str| NEEDED.iter().any(|variable| variable.name == name);
    environment.iter().filter(|(name, _)| needed(name)).map(|(name, value)| (*name, value.clone())).collect()
}

/// Writes the environment of an operator's shell, for its user alone, and returns where.
pub fn write_environment(environment: &Environment, logs: &Path) -> anyhow::Result<PathBuf> {
    let mut text = String::new();
    for (name, value) in needed(environment) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''"));
    }
    let path = logs.join("environment");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}
