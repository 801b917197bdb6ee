//! What fails, over all tasks: failed runs and dead letters that look the same are one error.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Database, Error};

/// Cloud Tasks waits for no answer any longer: <https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues.tasks>.
pub(super) const LONGEST_DISPATCH: TimeDelta = TimeDelta::minutes(30);

/// Parts of the time that was asked for, in each of which the runs of an error are counted.
pub const BARS: i64 = 24;
/// Users of an error that are named.
pub const NAMED_USERS: i32 = 3;
/// Failed runs that are looked at for one list: a tenth of a second.
const LOOKED_AT: i64 = 12_000;

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
    pub since: DateTime<Utc>,
    /// Before then.
    pub until: Option<DateTime<Utc>>,
    /// Functions of errors that are left out.
    pub without_functions: &'a [String],
    /// Their fingerprints, in the same order.
    pub without_fingerprints: &'a [String],
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
    /// A few of them, by their ids: [`NAMED_USERS`] at most.
    pub first_users: Vec<Uuid>,
    /// Dead letters that were not replayed.
    pub dead_letters: i64,
    /// The first one.
    pub first: DateTime<Utc>,
    /// The newest one.
    pub last: DateTime<Utc>,
    /// What ran, each once.
    pub revisions: Vec<String>,
    /// Failed runs of each of [`BARS`] equal parts of the time that was asked for; the last one ends with it, or now.
    pub bars: Vec<i64>,
    /// There are more failed runs than were looked at: runs, tasks and users are at least so many, revisions may be missing.
    pub is_cut: bool,
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
    ///
    /// However much has failed, no error is left out for another, and no more than [`LOOKED_AT`] runs are looked at, the newest
    /// of each bar of each error: [`ErrorGroup::is_cut`] says where there are more.
    #[expect(clippy::too_many_lines, reason = "it is one statement")]
    pub async fn list(
        &self,
        filter: &Filter<'_>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<ErrorGroup>, Error> {
        let groups = sqlx::query_as!(
            ErrorGroup,
            r#"
            -- Each error with its newest run, from the last error of the index to the first: one row of the index per error.
            WITH RECURSIVE known AS (
                SELECT * FROM (
                    SELECT function, fingerprint, kind, reason, error, began_at, at FROM jobs.failures
                    WHERE kind IN ('failed', 'permanent', 'killed', 'started') AND $3::uuid IS NULL
                      AND function <= COALESCE($1::text, (
                          SELECT max(function) FROM jobs.failures WHERE kind IN ('failed', 'permanent', 'killed', 'started')
                      ))
                    ORDER BY function DESC, fingerprint DESC, at DESC LIMIT 1
                ) last WHERE $1::text IS NULL OR function = $1
                UNION ALL
                SELECT next.* FROM known CROSS JOIN LATERAL (
                    SELECT f.function, f.fingerprint, f.kind, f.reason, f.error, f.began_at, f.at FROM jobs.failures f
                    WHERE f.kind IN ('failed', 'permanent', 'killed', 'started')
                      AND (f.function, f.fingerprint) < (known.function, known.fingerprint)
                    ORDER BY f.function DESC, f.fingerprint DESC, f.at DESC LIMIT 1
                ) next WHERE $1::text IS NULL OR next.function = $1
            ), of_user AS MATERIALIZED (
                SELECT function, fingerprint, reason, error, key, user_id, revision, at FROM jobs.failures
                WHERE kind IN ('failed', 'permanent', 'killed', 'started') AND (kind <> 'started' OR began_at <= $7)
                  AND user_id = $3 AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
                  AND at >= $4 AND at < COALESCE($5::timestamptz, 'infinity')
            ), letters AS MATERIALIZED (
                SELECT function, fingerprint, reason, error, key, user_id, updated_at AS at FROM jobs.dead_letters
                WHERE state <> 'sent' AND ($1::text IS NULL OR function = $1) AND ($2::text IS NULL OR reason = $2)
                  AND ($3::uuid IS NULL OR user_id = $3)
                  AND updated_at >= $4 AND updated_at < COALESCE($5::timestamptz, 'infinity')
            ), newest AS MATERIALIZED (
                SELECT row_number() OVER (ORDER BY max(seen.at) DESC, seen.function, seen.fingerprint) AS place,
                       seen.function, seen.fingerprint, max(seen.at) AS at,
                       (array_agg(seen.reason ORDER BY seen.at DESC))[1] AS reason,
                       (array_agg(seen.error ORDER BY seen.at DESC))[1] AS error
                FROM (
                    SELECT known.function, known.fingerprint, run.at, run.reason, run.error
                    FROM known CROSS JOIN LATERAL (
                        SELECT known.at, known.reason, known.error
                        WHERE (known.kind <> 'started' OR known.began_at <= $7)
                          AND known.at >= $4 AND known.at < COALESCE($5::timestamptz, 'infinity')
                        UNION ALL
                        -- The newest is not meant: another one may be.
                        (SELECT f.at, f.reason, f.error FROM jobs.failures f
                         WHERE NOT ((known.kind <> 'started' OR known.began_at <= $7)
                                    AND known.at < COALESCE($5::timestamptz, 'infinity'))
                           AND f.kind IN ('failed', 'permanent', 'killed', 'started')
                           AND (f.kind <> 'started' OR f.began_at <= $7)
                           AND f.function = known.function AND f.fingerprint = known.fingerprint
                           AND f.at >= $4 AND f.at < COALESCE($5::timestamptz, 'infinity')
                         ORDER BY f.at DESC LIMIT 1)
                    ) run
                    -- What looks the same has the same reason.
                    WHERE $2::text IS NULL OR run.reason = $2
                    UNION ALL
                    SELECT function, fingerprint, at, reason, error FROM of_user
                    UNION ALL
                    SELECT function, fingerprint, at, reason, error FROM letters JOIN (
                        SELECT function, fingerprint, max(at) AS at FROM letters GROUP BY function, fingerprint
                    ) last USING (function, fingerprint, at)
                ) seen
                WHERE NOT EXISTS (
                    SELECT FROM UNNEST($11::text[], $12::text[]) AS without (function, fingerprint)
                    WHERE without.function = seen.function AND without.fingerprint = seen.fingerprint
                )
                GROUP BY seen.function, seen.fingerprint
                ORDER BY place LIMIT $6
            ), looked_at AS MATERIALIZED (
                SELECT newest.place, bar.number AS bar, run.key, run.user_id, run.revision, run.at
                FROM newest CROSS JOIN (
                    SELECT number, $4 + number * length AS since,
                           CASE WHEN number < $8::bigint - 1 THEN $4 + (number + 1) * length
                                ELSE COALESCE($5::timestamptz, 'infinity') END AS until
                    FROM generate_series(0, $8::bigint - 1) AS number,
                         (SELECT (COALESCE($5::timestamptz, $9) - $4) / $8::bigint AS length) AS bars
                ) bar
                LEFT JOIN LATERAL (
                    (SELECT f.key, f.user_id, f.revision, f.at FROM jobs.failures f
                     WHERE f.kind IN ('failed', 'permanent', 'killed', 'started')
                       AND (f.kind <> 'started' OR f.began_at <= $7)
                       AND $3::uuid IS NULL AND f.function = newest.function AND f.fingerprint = newest.fingerprint
                       AND f.at >= bar.since AND f.at < bar.until
                     ORDER BY f.at DESC LIMIT GREATEST($10::bigint / (SELECT count(*) FROM newest), 1) + 1)
                    UNION ALL
                    SELECT f.key, f.user_id, f.revision, f.at FROM of_user f
                    WHERE f.function = newest.function AND f.fingerprint = newest.fingerprint
                      AND f.at >= bar.since AND f.at < bar.until
                ) run ON true
            ), about AS (
                SELECT place, count(DISTINCT key COLLATE "C") AS tasks, count(DISTINCT user_id) AS users,
                       (array_agg(DISTINCT user_id) FILTER (WHERE user_id IS NOT NULL))[:$13::int] AS first_users,
                       array_agg(DISTINCT revision COLLATE "C") FILTER (WHERE revision IS NOT NULL) AS revisions,
                       count(*) FILTER (WHERE is_letter) AS dead_letters, min(at) AS first
                FROM (
                    SELECT place, key, user_id, revision, at, false AS is_letter FROM looked_at
                    UNION ALL
                    SELECT place, key, user_id, NULL, letters.at, true
                    FROM letters JOIN newest USING (function, fingerprint)
                ) seen
                GROUP BY place
            ), bars AS (
                SELECT place, array_agg(runs ORDER BY bar) AS bars, sum(runs)::bigint AS failures,
                       max(runs) > GREATEST($10::bigint / (SELECT count(*) FROM newest), 1) AS is_cut
                FROM (
                    SELECT place, bar, count(at) AS runs FROM looked_at GROUP BY place, bar
                ) counted
                GROUP BY place
            )
            SELECT function AS "function!", fingerprint AS "fingerprint!", reason AS "reason!", error AS "error!",
                   failures AS "failures!", tasks AS "tasks!", users AS "users!", COALESCE(first_users, '{}') AS "first_users!", dead_letters AS "dead_letters!",
                   LEAST(first, oldest.at) AS "first!", newest.at AS "last!", COALESCE(revisions, '{}') AS "revisions!",
                   bars AS "bars!", is_cut AND $3::uuid IS NULL AS "is_cut!"
            FROM newest JOIN about USING (place) JOIN bars USING (place)
            LEFT JOIN LATERAL (
                SELECT f.at FROM jobs.failures f
                WHERE f.kind IN ('failed', 'permanent', 'killed', 'started')
                  AND (f.kind <> 'started' OR f.began_at <= $7)
                  AND $3::uuid IS NULL AND f.function = newest.function AND f.fingerprint = newest.fingerprint
                  AND f.at >= $4
                ORDER BY f.at LIMIT 1
            ) oldest ON true
            ORDER BY place
            "#,
            filter.function,
            filter.reason,
            filter.user_id,
            filter.since,
            filter.until,
            i64::from(limit),
            now - LONGEST_DISPATCH,
            BARS,
            now,
            LOOKED_AT / BARS,
            filter.without_functions,
            filter.without_fingerprints,
            NAMED_USERS,
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
