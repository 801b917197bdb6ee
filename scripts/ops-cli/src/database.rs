//! The database of the functions, reached as they reach it: `DATABASE_URL` or the `DATABASE_*` parts.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use catchup::db::{migrations, operators};
use clap::Args;
use shared::config::Config;
use shared::db::Database;

/// What a person sets, unlike a function.
const WHERE: &str =
    "scripts/up prints the DATABASE_URL of its database; in the cloud it is that of the SQL proxy";

/// Run the migrations of the schema `jobs`; before functions that need them are deployed.
#[derive(Args)]
pub(crate) struct Migrate {
    /// postgres://user:password@host:port/name; the user must own the schema.
    #[arg(long = "database", env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    url: String,
    /// Database users who operate the functions, such as IAM users: each gets the role `jobs_operators`, which is created if it
    /// is not there; the user of --database must own the application's tables, too, and be allowed to create roles.
    #[arg(long, value_name = "NAME")]
    operator: Vec<String>,
}

impl Migrate {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let options = || self.url.parse().context("the URL of the database is malformed");
        wait_for(async {
            migrations::migrate(options()?).await?;
            if !self.operator.is_empty() {
                let granted = operators::grant(options()?, &self.operator).await;
                granted.with_context(|| {
                    format!("the schema is migrated, but {} is not granted", operators::ROLE)
                })?;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Connects on first use; only inside [`wait_for`].
pub(crate) fn open() -> anyhow::Result<Database> {
    let mut config = Config::from_process();
    let Ok(database) = Database::from_config(&mut config) else {
        let problems: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        bail!("{}\n{WHERE}", problems.join("\n"));
    };
    Ok(database)
}

/// Runs what needs a connection.
pub(crate) fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
