//! The role of the people who operate the functions, for database users of their own, such as IAM users of Cloud SQL.

use shared::queue::Personal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Error, Executor as _, PgConnection};

use crate::retention::RETENTION;

/// The role; [`grant`] creates it.
pub const ROLE: &str = "jobs_operators";

/// Everything of ours can be read, which `scripts/ops` and the runbook's questions need, and changed is what they change:
/// dead letters with their failures, what is said of errors, deliveries of unknown status, what a person took back, rows of users who are gone, and the
/// record of all this, which they may add to and not delete from. Nothing of the application.
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
    GRANT INSERT, UPDATE, DELETE ON jobs.error_states TO jobs_operators;
    GRANT DELETE ON jobs.swept_users TO jobs_operators;
";

/// Gives these database users the role; may run any number of times. The schema `jobs` is up to date, and who connects owns it
/// and may create roles.
pub async fn grant(options: PgConnectOptions, users: &[String]) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    transaction.execute(RIGHTS).await?;
    for Personal { table, .. } in RETENTION.personal {
        transaction.execute(AssertSqlSafe(format!("GRANT DELETE ON jobs.{table} TO {ROLE}"))).await?;
    }
    for user in users {
        // A name cannot be a parameter of this statement.
        let user = user.replace('"', "\"\"");
        transaction.execute(AssertSqlSafe(format!("GRANT {ROLE} TO \"{user}\""))).await?;
    }
    transaction.commit().await?;
    connection.close().await
}
