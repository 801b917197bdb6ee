//! Postgres and Redis: whether they respond, and whether the role and the token may do what operators do.

use catchup::db::migrations;
use catchup::db::operators::{Operators, ROLE};
use catchup::db::user_overview::UserOverview;
use shared::db::Database;
use shared::idempotency::{Found, Leases, Name};
use shared::redis::Error;
use uuid::Uuid;

use super::super::Operations;
use super::Checks;

/// No function has this name, so no task has this lease.
const OF: &str = "ops";
/// What is shown of a list.
const SHOWN: usize = 5;

pub(super) async fn postgres(operations: &Operations, checks: &mut Checks) {
    let database = match operations.database() {
        Ok(database) => database,
        Err(problem) => return checks.unknown("Postgres", problem.to_string()),
    };
    if let Err(error) = database.ping().await {
        return checks.failed(
            "Postgres",
            format!("{:#}", anyhow::Error::from(error)),
            "start it, or in the cloud the SQL proxy, and set DATABASE_URL; scripts/up prints that of its own",
        );
    }
    checks.ok("Postgres", "responds");
    schema(&database, checks).await;
    rights(database, checks).await;
}

async fn schema(database: &Database, checks: &mut Checks) {
    match migrations::pending(database).await {
        Ok(pending) if pending.is_empty() => checks.ok("migrations", "all of this program are applied"),
        Ok(pending) => checks.failed(
            "migrations",
            format!("not applied: {}", shown(&pending)),
            "scripts/ops migrate  # with the DATABASE_URL of the owner of the schema",
        ),
        Err(error) => checks.failed(
            "migrations",
            format!("{:#}", anyhow::Error::from(error)),
            "scripts/ops migrate  # with the DATABASE_URL of the owner of the schema",
        ),
    }
}

async fn rights(database: Database, checks: &mut Checks) {
    match Operators::from(database.clone()).missing_rights().await {
        Ok(missing) if missing.is_empty() => checks.ok("rights", "what operators read and change in jobs"),
        Ok(missing) => checks.failed(
            "rights",
            format!("missing in jobs: {}", shown(&missing)),
            format!("scripts/ops migrate --operator NAME  # as the owner of the schema: gives the database user NAME the role {ROLE}"),
        ),
        Err(error) => checks.failed(
            "rights",
            format!("{:#}", anyhow::Error::from(error)),
            "scripts/ops migrate  # with the DATABASE_URL of the owner of the schema",
        ),
    }
    // The role of operators may not.
    match UserOverview::from(database).of(Uuid::nil(), 1).await {
        Ok(_) => checks.ok("application's tables", "what scripts/ops user reads of them"),
        Err(error) => checks.unknown(
            "application's tables",
            format!("scripts/ops user shows only what is ours: {:#}", anyhow::Error::from(error)),
        ),
    }
}

/// Takes a lease of a task that is none, reads it, and releases it, as a function does for each task.
pub(super) async fn redis(operations: &Operations, checks: &mut Checks) {
    let leases = match operations.leases() {
        Ok(leases) => leases,
        Err(problem) => return checks.unknown("Redis", problem.to_string()),
    };
    match write_read_delete(leases).await {
        Ok(true) => checks.ok("Redis", "a key was written, read and deleted"),
        Ok(false) => checks.failed(
            "Redis",
            "a key that was written was not found again",
            "see the page of the database at its provider: it loses what is written",
        ),
        Err(error) => {
            let fix = fix(&error);
            checks.failed("Redis", format!("{:#}", anyhow::Error::from(error)), fix);
        }
    }
}

async fn write_read_delete(leases: &Leases) -> Result<bool, Error> {
    let key = format!("doctor-{}", Uuid::new_v4());
    let name = Name { function: OF, key: &key, payload_hash: "", is_derived: false, after: None };
    let mut lease = leases.prepare(name, true);
    let is_taken = matches!(leases.acquire(&mut lease, name).await?, Found::Free);
    Ok(is_taken && leases.release(&lease).await?)
}

fn fix(error: &Error) -> &'static str {
    match error {
        Error::Unauthorized => {
            "set UPSTASH_REDIS_REST_TOKEN to the token of the database at UPSTASH_REDIS_REST_URL: its page at Upstash has both"
        }
        Error::Refused(_) => {
            "give UPSTASH_REDIS_REST_TOKEN a token that may write: a read-only one refuses SET"
        }
        Error::OutOfService(_) => {
            "raise the quota or the memory of the database at its provider; until then, queues run without leases"
        }
        Error::Unreachable(_)
        | Error::Broken(_)
        | Error::Timeout
        | Error::Status(_)
        | Error::Garbage
        | Error::TooLarge
        | Error::CircuitOpen => {
            "start Redis, or set UPSTASH_REDIS_REST_URL to where it is; until then, queues run without leases"
        }
    }
}

fn shown(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { text } else { format!("{text}, and {more} more") }
}
