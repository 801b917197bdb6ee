//! The role of the people who operate the functions, for database users of their own, such as IAM users of Cloud SQL.

use shared::queue::Personal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor as _, PgConnection};

use crate::retention::RETENTION;

/// The role; [`grant`] creates it.
pub const ROLE: &str = "jobs_operators";
const IS_OWNER: &str = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = $1::regclass";

/// Everything of ours can be read, which `scripts/ops` and the runbook's questions need, and changed is what they change:
/// dead letters with their failures, what is said of errors, deliveries of unknown status, what a person took back, rows of users
/// who are gone, and the record of all this, which they may add to and not delete from. Nothing of the application, but for
/// [`READABLE`].
const RIGHTS: &str = "
    DO $$ BEGIN
        CREATE ROLE jobs_operators NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$;
    GRANT USAGE ON SCHEMA jobs TO jobs_operators;
    GRANT SELECT ON ALL TABLES IN SCHEMA jobs TO jobs_operators;
    ALTER DEFAULT PRIVILEGES IN SCHEMA jobs GRANT SELECT ON TABLES TO jobs_operators;
";
/// The rights to change: table, privilege, and the columns of an update if it is not one of all.
const CHANGES: [(&str, &str, &[&str]); 14] = [
    ("dead_letters", "UPDATE", &[]),
    ("dead_letters", "DELETE", &[]),
    ("error_states", "INSERT", &[]),
    ("error_states", "UPDATE", &[]),
    ("error_states", "DELETE", &[]),
    ("failures", "UPDATE", &[]),
    ("failures", "DELETE", &[]),
    ("notification_deliveries", "UPDATE", &[]),
    ("notification_deliveries", "DELETE", &[]),
    ("operator_actions", "INSERT", &[]),
    ("operator_actions", "UPDATE", &["ended_at", "changed", "cancelled_at", "rate", "problem"]),
    ("bulk_members", "INSERT", &[]),
    ("bulk_members", "UPDATE", &["outcome", "error", "at"]),
    ("swept_users", "DELETE", &[]),
];

super::handle! {
    /// What the connected database user may do.
    Operators
}

impl Operators {
    /// The rights of [`ROLE`] that the connected user does not have, such as `UPDATE on dead_letters`. Nothing if the user may do all
    /// that operators do.
    pub async fn missing_rights(&self) -> Result<Vec<String>, shared::db::Error> {
        let changes = changes();
        let tables: Vec<&str> = changes.iter().map(|(table, ..)| *table).collect();
        let privileges: Vec<&str> = changes.iter().map(|(_, privilege, _)| *privilege).collect();
        let columns: Vec<String> = changes.iter().map(|(.., columns)| columns.join(",")).collect();
        let missing = sqlx::query_scalar!(
            r#"
            SELECT 'SELECT on ' || c.relname AS "missing!" FROM pg_class c
            WHERE c.relnamespace = 'jobs'::regnamespace AND c.relkind = 'r' AND NOT has_table_privilege(c.oid, 'SELECT')
            UNION ALL
            SELECT privilege || ' on ' || relation FROM unnest($1::text[], $2::text[], $3::text[]) AS needed (relation, privilege, names)
            WHERE NOT CASE
                WHEN names = '' THEN has_table_privilege('jobs.' || relation, privilege)
                ELSE (SELECT bool_and(has_column_privilege('jobs.' || relation, name, privilege))
                      FROM unnest(string_to_array(names, ',')) AS name)
            END
            "#,
            &tables as _,
            &privileges as _,
            &columns as _,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(missing)
    }
}

/// All of [`CHANGES`], and the deletion of what is kept of users who are gone.
fn changes() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let personal = RETENTION.personal.iter().map(|Personal { table, .. }| (*table, "DELETE", &[][..]));
    CHANGES.into_iter().chain(personal).collect()
}

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
    for (table, privilege, columns) in changes() {
        let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        let grant = format!("GRANT {privilege}{columns} ON jobs.{table} TO {ROLE}");
        transaction.execute(AssertSqlSafe(grant)).await?;
    }
    for user in users {
        // A name cannot be a parameter of this statement.
        let user = user.replace('"', "\"\"");
        transaction.execute(AssertSqlSafe(format!("GRANT {ROLE} TO \"{user}\""))).await?;
    }
    transaction.commit().await?;
    Ok(connection.close().await?)
}
