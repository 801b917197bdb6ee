//! What fails, over all tasks: failed runs and dead letters that look the same are one error.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Database, Error};

/// Cloud Tasks waits for no answer any longer: <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks>.
const LONGEST_DISPATCH: TimeDelta = TimeDelta::minutes(30);

/// Which failures are meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Of one function.
    pub function: Option<&'a str>,
    /// With this stable code.
    pub reason: Option<&'a str>,
    /// Of one user.
    pub user_id: Option<Uuid>,
    /// From then on.
    pub since: Option<DateTime<Utc>>,
    /// Before then.
    pub until: Option<DateTime<Utc>>,
}

/// Failures that look the same.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorGroup {
    /// The function.
    pub function: String,
    /// What they have in common.
    pub fingerprint: String,
    /// Stable code of the newest.
    pub reason: String,
    /// For people: text of the newest.
    pub error: String,
    /// Failed runs.
    pub failures: i64,
    /// Tasks that had them.
    pub tasks: i64,
    /// Users whom these tasks are about.
    pub users: i64,
    /// Dead letters that were not replayed.
    pub dead_letters: i64,
    /// The first one.
    pub first: DateTime<Utc>,
    /// The newest one.
    pub last: DateTime<Utc>,
    /// What ran, each once.
    pub revisions: Vec<String>,
}

/// A failed run of a user's task.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserFailure {
    /// The function.
    pub function: String,
    /// Key of the task.
    pub key: String,
    /// How it ended.
    pub kind: String,
    /// Stable code.
    pub reason: String,
    /// For people.
    pub error: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What fails.
#[derive(Debug, Clone)]
pub struct Errors(Database);

impl From<Database> for Errors {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl Errors {
    /// What failed, the newest first. A dead letter without a recorded run, such as of a body that is no envelope, is an
    /// error of its own. A run that was recorded before it began is none while it may be under way.
    pub async fn list(
        &self,
        filter: &Filter<'_>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ErrorGroup>, Error> {
        let groups = sqlx::query_as!(
            ErrorGroup,
            r#"
            WITH seen AS (
                SELECT function, fingerprint, reason, error, user_id, key, revision, at, true AS is_run
                FROM jobs.failures
                WHERE (kind IN ('failed', 'permanent', 'killed') OR kind = 'started' AND began_at <= $7)
                  AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
                  AND ($3::uuid IS NULL OR user_id = $3)
                  AND at >= COALESCE($4::timestamptz, '-infinity') AND at < COALESCE($5::timestamptz, 'infinity')
                UNION ALL
                SELECT function, fingerprint, reason, error, user_id, key, NULL, updated_at, false
                FROM jobs.dead_letters
                WHERE state <> 'sent'
                  AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
                  AND ($3::uuid IS NULL OR user_id = $3)
                  AND updated_at >= COALESCE($4::timestamptz, '-infinity')
                  AND updated_at < COALESCE($5::timestamptz, 'infinity')
            )
            SELECT function AS "function!", fingerprint AS "fingerprint!",
                   (array_agg(reason ORDER BY at DESC))[1] AS "reason!",
                   (array_agg(error ORDER BY at DESC))[1] AS "error!",
                   count(*) FILTER (WHERE is_run) AS "failures!", count(DISTINCT key) AS "tasks!",
                   count(DISTINCT user_id) AS "users!", count(*) FILTER (WHERE NOT is_run) AS "dead_letters!",
                   min(at) AS "first!", max(at) AS "last!",
                   COALESCE(array_agg(DISTINCT revision) FILTER (WHERE is_run), '{}') AS "revisions!"
            FROM seen GROUP BY function, fingerprint ORDER BY max(at) DESC, function, fingerprint LIMIT $6
            "#,
            filter.function,
            filter.reason,
            filter.user_id,
            filter.since,
            filter.until,
            i64::from(limit),
            now - LONGEST_DISPATCH,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(groups)
    }

    /// The last failed runs of a user's tasks, newest first.
    pub async fn of_user(
        &self,
        user_id: Uuid,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<UserFailure>, Error> {
        let failures = sqlx::query_as!(
            UserFailure,
            "
            SELECT function, key, kind, reason, error, at FROM jobs.failures
            WHERE user_id = $1 AND (kind IN ('failed', 'permanent', 'killed') OR kind = 'started' AND began_at <= $3)
            ORDER BY at DESC LIMIT $2
            ",
            user_id,
            i64::from(limit),
            now - LONGEST_DISPATCH,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(failures)
    }
}
