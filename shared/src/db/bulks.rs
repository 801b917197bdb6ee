//! `jobs.bulk_members`: the dead letters that an operator replays or discards, fixed when the bulk begins.
//!
//! A bulk is an action (`jobs.operator_actions`) with members. The outcome of each is written with the change of the dead letter
//! itself, so that a bulk may be cut off anywhere and continued by anyone. One process at a time runs it: [`Lock`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

use super::operator_actions::{self, Action, NewAction, Pace, Via};
use super::{Database, Error, shortened};

/// Longest text that is kept.
const TEXT_CHARS: usize = 1000;

/// A bulk that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewBulk<'a> {
    /// Names it: the same id is the same bulk, however often it begins.
    pub id: Uuid,
    /// [`Action::Replay`] or [`Action::Discard`].
    pub action: Action,
    /// Where it is asked for.
    pub via: Via<'a>,
    /// What was asked for, as it can be asked for again.
    pub filter: &'a Value,
    /// The operator's reason.
    pub why: &'a str,
    /// Ids of the dead letters, each once.
    pub ids: &'a [String],
    /// How it runs.
    pub pace: Pace,
}

/// A bulk as it is kept.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredBulk {
    /// Names it.
    pub id: Uuid,
    /// When it began.
    pub at: DateTime<Utc>,
    /// The user of the database session that began it.
    pub who: String,
    /// Where it was asked for.
    pub via: String,
    /// `replay` or `discard`.
    pub action: String,
    /// What was asked for.
    pub filter: Value,
    /// The operator's reason.
    pub why: String,
    /// How many dead letters it has.
    pub count: i64,
    /// Dead letters per second.
    pub rate: i32,
    /// It also replays what was replayed before.
    pub again: bool,
    /// It ends between two dead letters.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Nothing is left to do, or it was cancelled.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why its last run ended early.
    pub problem: Option<String>,
    /// A process runs it.
    pub is_running: bool,
    /// How many of its dead letters have which outcome.
    pub outcomes: Json<BTreeMap<String, i64>>,
}

impl StoredBulk {
    /// How many dead letters have no outcome yet.
    #[must_use]
    pub fn left(&self) -> i64 {
        ["waiting", "replaying"].into_iter().filter_map(|outcome| self.outcomes.get(outcome)).sum()
    }
}

/// A dead letter of a bulk.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredMember {
    /// Id of the dead letter.
    pub dead_letter: String,
    /// What became of it.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A dead letter whose new task is to be created.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Its place in the bulk.
    pub number: i32,
    /// Name of the function.
    pub function: String,
    /// Key of the task.
    pub key: String,
    /// The life that the replay begins.
    pub deaths: i32,
    /// The body as it arrived: personal.
    pub body: Vec<u8>,
}

/// What became of a dead letter whose new task was to be created.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Its place in the bulk.
    pub number: i32,
    /// Why there is no task.
    pub error: Option<String>,
}

/// The bulks.
#[derive(Debug, Clone)]
pub struct Bulks(Database);

impl From<Database> for Bulks {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl Bulks {
    /// Writes that a bulk begins, and its members. If all are of one function, or about one user, the action says so.
    pub async fn begin(&self, new: &NewBulk<'_>, now: DateTime<Utc>) -> Result<(), Error> {
        let mut transaction = self.0.begin().await?;
        let about = sqlx::query!(
            "
            SELECT CASE WHEN count(DISTINCT function) = 1 THEN min(function) END AS function,
                   CASE WHEN count(DISTINCT user_id) = 1 AND count(user_id) = count(*) THEN min(user_id::text)::uuid END AS user_id
            FROM jobs.dead_letters WHERE id = ANY ($1)
            ",
            new.ids as _,
        )
        .fetch_one(transaction.statement())
        .await?;
        let action = NewAction {
            action: new.action,
            via: new.via,
            function: about.function.as_deref(),
            user_id: about.user_id,
            filter: new.filter,
            count: new.ids.len(),
            why: new.why,
        };
        if !operator_actions::insert(transaction.statement(), new.id, &action, Some(new.pace), now).await? {
            return Ok(());
        }
        sqlx::query!(
            "
            INSERT INTO jobs.bulk_members (bulk, number, dead_letter, deaths, outcome, at)
            SELECT $1, row_number() OVER (ORDER BY letter.created_at, asked.id), asked.id, COALESCE(letter.deaths, 0),
                   CASE WHEN letter.id IS NULL THEN 'gone' ELSE 'waiting' END, $3
            FROM UNNEST($2::text[]) AS asked (id) LEFT JOIN jobs.dead_letters letter ON letter.id = asked.id
            ",
            new.id,
            new.ids as _,
            now,
        )
        .execute(transaction.statement())
        .await?;
        transaction.commit().await
    }

    /// The bulk of that id.
    pub async fn get(&self, bulk: Uuid) -> Result<Option<StoredBulk>, Error> {
        Ok(self.list(Some(bulk), 1).await?.pop())
    }

    /// Those that have not ended, newest first.
    pub async fn list_open(&self, limit: u32) -> Result<Vec<StoredBulk>, Error> {
        self.list(None, limit).await
    }

    async fn list(&self, bulk: Option<Uuid>, limit: u32) -> Result<Vec<StoredBulk>, Error> {
        let bulks = sqlx::query_as!(
            StoredBulk,
            r#"
            SELECT id, at, who, via, action, filter, why, count, rate AS "rate!", again AS "again!", cancelled_at, ended_at,
                   problem,
                   CASE WHEN ended_at IS NULL
                        THEN NOT pg_try_advisory_xact_lock_shared(hashtextextended('bulk:' || id, 0))
                        ELSE false END AS "is_running!",
                   (SELECT COALESCE(jsonb_object_agg(m.outcome, m.members), '{}')
                    FROM (SELECT outcome, count(*) AS members FROM jobs.bulk_members WHERE bulk = action.id GROUP BY outcome) m
                   ) AS "outcomes!: Json<BTreeMap<String, i64>>"
            FROM jobs.operator_actions action
            WHERE rate IS NOT NULL AND (id = $1 OR ($1::uuid IS NULL AND ended_at IS NULL))
            ORDER BY at DESC LIMIT $2
            "#,
            bulk,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(bulks)
    }

    /// Its dead letters: those that failed, then the others in their order.
    pub async fn members(&self, bulk: Uuid, limit: u32) -> Result<Vec<StoredMember>, Error> {
        let members = sqlx::query_as!(
            StoredMember,
            "
            SELECT dead_letter, outcome, error, at FROM jobs.bulk_members WHERE bulk = $1
            ORDER BY outcome = 'failed' DESC, number LIMIT $2
            ",
            bulk,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(members)
    }

    /// The right to run the bulk, unless another process has it.
    pub async fn lock(&self, bulk: Uuid) -> Result<Option<Lock>, Error> {
        let mut connection = self.0.connections.detached().await?;
        connection.execute("BEGIN").await?;
        let is_free = sqlx::query_scalar!(
            r#"SELECT pg_try_advisory_xact_lock(hashtextextended('bulk:' || $1::uuid, 0)) AS "is_free!""#,
            bulk,
        )
        .fetch_one(&mut connection)
        .await?;
        Ok(is_free.then_some(Lock { connection, bulk }))
    }

    /// Says, before their new tasks are created, that the next dead letters are being replayed; those that cannot be have their
    /// outcome. What a run that was cut off has begun is begun again.
    pub async fn begin_replays(
        &self,
        bulk: Uuid,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Begun>, Error> {
        let begun = sqlx::query_as!(
            Begun,
            "
            WITH next AS (
                SELECT m.number, m.dead_letter, m.deaths, action.again
                FROM jobs.bulk_members m JOIN jobs.operator_actions action ON action.id = m.bulk
                WHERE m.bulk = $1 AND m.outcome IN ('waiting', 'replaying') ORDER BY m.number LIMIT $2
            ), begun AS (
                UPDATE jobs.dead_letters letter SET state = 'replaying', updated_at = $3
                FROM next
                WHERE letter.id = next.dead_letter AND letter.deaths = next.deaths
                  AND (letter.state <> 'sent' OR next.again)
                RETURNING next.number, letter.function, letter.key, letter.deaths, letter.body
            ), members AS (
                UPDATE jobs.bulk_members m SET at = $3, outcome = CASE
                    WHEN begun.number IS NOT NULL THEN 'replaying'
                    WHEN letter.id IS NULL THEN 'gone'
                    -- Cut off after the new task was created, which died since.
                    WHEN m.outcome = 'replaying' THEN 'replayed'
                    ELSE 'replayed_before' END
                FROM next LEFT JOIN begun ON begun.number = next.number
                LEFT JOIN jobs.dead_letters letter ON letter.id = next.dead_letter
                WHERE m.bulk = $1 AND m.number = next.number
            )
            SELECT number, function, key, deaths, body FROM begun
            ",
            bulk,
            i64::from(limit),
            now,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(begun)
    }

    /// Their new tasks exist, or cannot be created. A dead letter whose task died once more since then stays open.
    pub async fn end_replays(
        &self,
        bulk: Uuid,
        replayed: &[Replayed],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let numbers: Vec<_> = replayed.iter().map(|it| it.number).collect();
        let errors: Vec<_> =
            replayed.iter().map(|it| it.error.as_deref().map(|it| shortened(it, TEXT_CHARS))).collect();
        sqlx::query!(
            "
            WITH ended AS (
                UPDATE jobs.bulk_members m SET outcome = CASE WHEN e.error IS NULL THEN 'replayed' ELSE 'failed' END,
                    error = e.error, at = $4
                FROM UNNEST($2::integer[], $3::text[]) AS e (number, error)
                WHERE m.bulk = $1 AND m.number = e.number AND m.outcome = 'replaying'
                RETURNING m.dead_letter, m.deaths, m.outcome
            )
            UPDATE jobs.dead_letters letter SET state = 'sent', updated_at = $4
            FROM ended
            WHERE letter.id = ended.dead_letter AND letter.deaths = ended.deaths AND letter.state = 'replaying'
              AND ended.outcome = 'replayed'
            ",
            bulk,
            &numbers,
            &errors as _,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Removes the next dead letters with all their failures. One that was replayed and died again is not the one that was meant.
    pub async fn discard(&self, bulk: Uuid, limit: u32, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            WITH next AS (
                SELECT number, dead_letter, deaths FROM jobs.bulk_members
                WHERE bulk = $1 AND outcome = 'waiting' ORDER BY number LIMIT $2
            ), discarded AS (
                DELETE FROM jobs.dead_letters letter USING next
                WHERE letter.id = next.dead_letter AND letter.deaths = next.deaths
                RETURNING next.number, letter.function, letter.key
            ), failures AS (
                DELETE FROM jobs.failures f USING discarded WHERE f.function = discarded.function AND f.key = discarded.key
            )
            UPDATE jobs.bulk_members m SET at = $3, outcome = CASE
                WHEN discarded.number IS NOT NULL THEN 'discarded'
                WHEN letter.id IS NULL THEN 'gone'
                ELSE 'replayed_before' END
            FROM next LEFT JOIN discarded ON discarded.number = next.number
            LEFT JOIN jobs.dead_letters letter ON letter.id = next.dead_letter
            WHERE m.bulk = $1 AND m.number = next.number
            ",
            bulk,
            i64::from(limit),
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Has the bulk end between two dead letters; returns whether it had not ended.
    pub async fn cancel(&self, bulk: Uuid, now: DateTime<Utc>) -> Result<bool, Error> {
        let cancelled = sqlx::query!(
            "UPDATE jobs.operator_actions SET cancelled_at = $2 WHERE id = $1 AND ended_at IS NULL AND cancelled_at IS NULL",
            bulk,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(cancelled.rows_affected() == 1)
    }

    /// From now on it runs at this rate.
    pub async fn set_rate(&self, bulk: Uuid, rate: i32) -> Result<(), Error> {
        sqlx::query!("UPDATE jobs.operator_actions SET rate = $2 WHERE id = $1", bulk, rate)
            .execute(self.0.statement())
            .await?;
        Ok(())
    }

    /// Writes why a run of the bulk ended early, or that it has begun.
    pub async fn set_problem(&self, bulk: Uuid, problem: Option<&str>) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE jobs.operator_actions SET problem = $2 WHERE id = $1 AND problem IS DISTINCT FROM $2",
            bulk,
            problem.map(|problem| shortened(problem, TEXT_CHARS)),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Writes that the bulk has ended, and how many dead letters it has changed.
    pub async fn end(&self, bulk: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE jobs.operator_actions SET ended_at = $2, changed = (
                SELECT count(*) FROM jobs.bulk_members WHERE bulk = $1 AND outcome IN ('replayed', 'discarded')
            )
            WHERE id = $1 AND ended_at IS NULL
            ",
            bulk,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}

/// The right to run a bulk, which one process has at a time: it ends with the process, and is lost by one that stands still.
#[derive(Debug)]
pub struct Lock {
    /// In a transaction, which has the lock and ends when it is idle for too long.
    connection: PgConnection,
    bulk: Uuid,
}

impl Lock {
    /// Whether something is left to do. An error also when the lock was lost; asking keeps it.
    pub async fn has_more(&mut self) -> Result<bool, Error> {
        let has_more = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (SELECT FROM jobs.bulk_members WHERE bulk = $1 AND outcome IN ('waiting', 'replaying'))
               AND EXISTS (SELECT FROM jobs.operator_actions WHERE id = $1 AND cancelled_at IS NULL) AS "has_more!"
            "#,
            self.bulk,
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(has_more)
    }
}
