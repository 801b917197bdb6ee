//! `jobs.error_states`: what operators say of errors, and whether it happened again since.

use chrono::{DateTime, Utc};

use super::errors::LONGEST_DISPATCH;
use super::{Database, Error, shortened};

/// Longest name of a revision that is kept.
const TEXT_CHARS: usize = 200;

/// What an operator says of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState<'a> {
    /// Its cause is gone: from this revision on, or, without one, from now on.
    Fixed {
        /// The first revision that has the fix.
        revision: Option<&'a str>,
    },
    /// It is not shown until it has happened so many times more.
    Ignored {
        /// Failed runs.
        until_count: i32,
    },
}

/// What an operator said of an error.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorState {
    /// The function.
    #[serde(skip)]
    pub function: String,
    /// What its failures have in common.
    #[serde(skip)]
    pub fingerprint: String,
    /// `fixed` or `ignored`.
    pub state: String,
    /// Of a fixed one, the first revision that has the fix.
    pub revision: Option<String>,
    /// Of an ignored one, after how many failed runs it is shown again.
    pub until_count: Option<i32>,
    /// When it was said.
    pub at: DateTime<Utc>,
    /// It was fixed and happened again, in that revision or a later one; or it was ignored, and happened that often.
    pub has_regressed: bool,
}

/// What operators say of errors.
#[derive(Debug, Clone)]
pub struct ErrorStates(Database);

impl From<Database> for ErrorStates {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl ErrorStates {
    /// Writes what an operator says of an error, instead of what was said before.
    pub async fn set(
        &self,
        function: &str,
        fingerprint: &str,
        new: NewState<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (state, revision, until_count) = match new {
            NewState::Fixed { revision } => ("fixed", revision, None),
            NewState::Ignored { until_count } => ("ignored", None, Some(until_count)),
        };
        sqlx::query!(
            "
            INSERT INTO jobs.error_states (function, fingerprint, state, revision, until_count, at)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (function, fingerprint) DO UPDATE
            SET state = excluded.state, revision = excluded.revision, until_count = excluded.until_count,
                at = excluded.at
            ",
            function,
            fingerprint,
            state,
            revision.map(|revision| shortened(revision, TEXT_CHARS)),
            until_count,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Deletes what was said of an error; returns whether something was.
    pub async fn clear(&self, function: &str, fingerprint: &str) -> Result<bool, Error> {
        let deleted = sqlx::query!(
            "DELETE FROM jobs.error_states WHERE function = $1 AND fingerprint = $2",
            function,
            fingerprint,
        )
        .execute(self.0.statement())
        .await?;
        Ok(deleted.rows_affected() == 1)
    }

    /// What was said, of one function or of all. Names of revisions are in the order in which Cloud Run makes them.
    pub async fn list(&self, function: Option<&str>, now: DateTime<Utc>) -> Result<Vec<ErrorState>, Error> {
        let states = sqlx::query_as!(
            ErrorState,
            r#"
            SELECT s.function, s.fingerprint, s.state, s.revision, s.until_count, s.at,
                   CASE s.state WHEN 'fixed' THEN since.again > 0 ELSE since.runs >= s.until_count END AS "has_regressed!"
            FROM jobs.error_states s CROSS JOIN LATERAL (
                SELECT count(*) AS runs, count(*) FILTER (
                    WHERE CASE WHEN s.revision IS NULL THEN began_at >= s.at
                               ELSE revision COLLATE "C" >= s.revision COLLATE "C" END
                ) AS again
                FROM (
                    (SELECT f.began_at, f.revision FROM jobs.failures f
                     WHERE f.kind IN ('failed', 'permanent', 'killed', 'started')
                       AND (f.kind <> 'started' OR f.began_at <= $2)
                       AND f.function = s.function AND f.fingerprint = s.fingerprint AND f.at >= s.at
                     -- The newest are of the newest revision.
                     ORDER BY f.at DESC LIMIT COALESCE(s.until_count, 1000))
                    UNION ALL
                    -- Died without a run, in whichever revision.
                    (SELECT d.updated_at, s.revision FROM jobs.dead_letters d
                     WHERE d.state <> 'sent' AND d.function = s.function AND d.fingerprint = s.fingerprint
                       AND d.updated_at >= s.at
                       AND NOT EXISTS (SELECT FROM jobs.failures f WHERE f.function = d.function AND f.key = d.key)
                     LIMIT COALESCE(s.until_count, 1000))
                ) seen
            ) since
            WHERE $1::text IS NULL OR s.function = $1
            ORDER BY s.at DESC
            "#,
            function,
            now - LONGEST_DISPATCH,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(states)
    }

    /// Which of these functions have an error with that fingerprint.
    pub async fn functions_of(&self, fingerprint: &str, of: &[&str]) -> Result<Vec<String>, Error> {
        let functions = sqlx::query_scalar!(
            r#"
            SELECT function AS "function!" FROM UNNEST($1::text[]) AS asked (function)
            WHERE EXISTS (SELECT FROM jobs.failures f
                          WHERE f.kind IN ('failed', 'permanent', 'killed', 'started')
                            AND f.function = asked.function AND f.fingerprint = $2)
               OR EXISTS (SELECT FROM jobs.dead_letters d
                          WHERE d.state <> 'sent' AND d.function = asked.function AND d.fingerprint = $2)
               OR EXISTS (SELECT FROM jobs.error_states s WHERE s.function = asked.function AND s.fingerprint = $2)
            "#,
            of as _,
            fingerprint,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(functions)
    }
}
