//! The role of the people who operate the functions, for database users of their own, such as IAM users of Cloud SQL.

use shared::queue::Personal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor as _, PgConnection};

use crate::retention::RETENTION;

/// The role; [`grant`] creates it.
pub const ROLE: &str = "jobs_operators";
const IS_OWNER: &str = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = $1::regclass";

/// Everything of ours can be read, which `scripts/ops` and the runbook's questions need, and changed is what they change:
/// dead letters with their failures, deliveries of unknown status, what a person took back, rows of users who are gone, and the
/// record of all this, which they may add to and not delete from. Nothing of the application, but for [`READABLE`].
const RIGHTS: &str = "
    DO $$ BEGIN
        CREATE ROLE jobs_operators NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$;
    GRANT USAGE ON SCHEMA jobs TO jobs_operators;
    GRANT SELECT ON ALL TABLES IN SCHEMA jobs TO jobs_operators;
    ALTER DEFAULT PRIVILEGES IN SCHEMA jobs GRANT SELECT ON TABLES TO jobs_operators;
    GRANT UPDATE, DELETE ON jobs.dead_letters, jobs.failures, jobs.notification_deliveries TO jobs_operators;
    GRANT INSERT, UPDATE (ended_at, changed, cancelled_at, rate, problem) ON jobs.operator_actions TO jobs_operators;
    GRANT INSERT, UPDATE (outcome, error, at) ON jobs.bulk_members TO jobs_operators;
    GRANT DELETE ON jobs.swept_users TO jobs_operators;
";

/// What operators' questions read of the application, by table: [`super::user_overview`], whether a user exists, and what is open
/// ([`super::handover::OpenWork`]). No secret, and nothing that a person wrote.
const READABLE: [(&str, &str); 8] = [
    ("calendar_webhook_subscriptions", "user_id, expiration"),
    ("circuit_breaker_state", "user_id, integration_type, state, failure_count, next_retry_at"),
    ("oauth_tokens", "user_id, provider, created_at, expires_at"),
    ("suggestions", "status"),
    (
        "sync_metrics",
        "user_id, integration_type, sync_type, result, skip_reason, duration_ms, items_processed, created_at",
    ),
    ("sync_schedule", "user_id, integration_type, last_sync_at, next_sync_at"),
    ("token_health", "user_id, integration_type, status, error_message"),
    ("users", "id, timezone"),
];

/// The role was not granted, and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Who connects may not give rights on this table of the application.
    #[error(
        "the database user does not own {0}, a table of the application: run the same as a user who owns the application's \
         tables, too, or is a member of the role that does"
    )]
    NotOwner(&'static str),
    /// A statement failed.
    #[error("a right could not be given")]
    Statement(#[from] sqlx::Error),
}

/// Gives these database users the role; may run any number of times. The schema `jobs` is up to date, and who connects owns it
/// and the application's tables, and may create roles.
pub async fn grant(options: PgConnectOptions, users: &[String]) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    transaction.execute(RIGHTS).await?;
    for (table, columns) in READABLE {
        // To one who may read the table and not give the right to, Postgres answers a grant with a warning only.
        let is_owner: bool = sqlx::query_scalar(IS_OWNER).bind(table).fetch_one(&mut *transaction).await?;
        if !is_owner {
            return Err(Error::NotOwner(table));
        }
        transaction.execute(AssertSqlSafe(format!("GRANT SELECT ({columns}) ON {table} TO {ROLE}"))).await?;
    }
    for Personal { table, .. } in RETENTION.personal {
        transaction.execute(AssertSqlSafe(format!("GRANT DELETE ON jobs.{table} TO {ROLE}"))).await?;
    }
    for user in users {
        // A name cannot be a parameter of this statement.
        let user = user.replace('"', "\"\"");
        transaction.execute(AssertSqlSafe(format!("GRANT {ROLE} TO \"{user}\""))).await?;
    }
    transaction.commit().await?;
    Ok(connection.close().await?)
}
