//! How long rows of the schema `jobs` are kept, and their deletion in bounded steps.
//!
//! What a product's tables keep, its [`Retention`] says.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::Error;
use super::sweeps::Sweeps;
use crate::queue::{Aged, Personal, Retention};

/// The platform's own rows that are deleted at an age, in this order: failures are kept as long as their dead letter.
const AGED: [(Aged, &str); 6] = [
    (Aged { table: "dead_letters", time: "updated_at", days: 90 }, ANY),
    (Aged { table: "failures", time: "at", days: 90 }, WITHOUT_DEAD_LETTER),
    (Aged { table: "operator_actions", time: "at", days: 400 }, ANY),
    (Aged { table: "bulk_members", time: "at", days: 90 }, ANY),
    (Aged { table: "error_states", time: "at", days: 400 }, ANY),
    (Aged { table: "sweeps", time: "started_at", days: 90 }, ANY),
];
/// What else must be true of a row: nothing.
const ANY: &str = "true";
/// What else must be true of a failure `t`. One index lookup per row: joined, all old rows might be sorted for each
/// step.
const WITHOUT_DEAD_LETTER: &str =
    "(SELECT d.id FROM jobs.dead_letters d WHERE d.function = t.function AND d.key = t.key LIMIT 1) IS NULL";

/// Rows that one statement deletes.
const STEP: i64 = 5_000;
/// Users that one statement looks for.
const USERS: i64 = 1_000;

/// The platform's own tables with a `user_id`.
const PERSONAL: [Personal; 4] = [
    Personal { table: "dead_letters", step: STEP },
    Personal { table: "failures", step: STEP },
    Personal { table: "operator_actions", step: STEP },
    Personal { table: "swept_users", step: STEP },
];

/// Of these tables, the one that operators add to and delete nothing from.
const RECORD: &str = "operator_actions";

/// Time between two searches for rows of deleted users: with it and the time that a search takes, they are deleted within
/// a day.
const SEARCH_INTERVAL: TimeDelta = TimeDelta::hours(12);

fn personal_tables(retention: &Retention) -> impl Iterator<Item = &'static str> {
    retention.personal.iter().chain(&PERSONAL).map(|personal| personal.table).filter(|table| *table != RECORD)
}

// The statements below differ in constants of this file and of the product's declaration alone; a test runs each of them.

impl Sweeps {
    /// Deletes what is older than its retention, and rows of deleted users, as long as `has_time`; returns how many rows.
    /// The next call continues. Several at the same time leave each other's rows alone.
    pub async fn prune(
        &self,
        retention: &Retention,
        now: DateTime<Utc>,
        has_time: impl Fn() -> bool,
    ) -> Result<u64, Error> {
        let mut pruned = 0;
        let own = AGED.iter().map(|(aged, condition)| (aged, *condition));
        for (aged, condition) in own.chain(retention.aged.iter().map(|aged| (aged, ANY))) {
            while has_time() {
                let deleted = self.delete_aged(aged, condition, now).await?;
                pruned += deleted;
                if deleted < STEP.unsigned_abs() {
                    break;
                }
            }
        }
        for personal in retention.personal.iter().chain(&PERSONAL) {
            if has_time() {
                pruned += self.erase_deleted_users(personal, retention.users, now, &has_time).await?;
            }
        }
        Ok(pruned)
    }

    /// Whether the product still has the user.
    pub async fn has_user(&self, retention: &Retention, user_id: Uuid) -> Result<bool, Error> {
        let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE id = $1)", retention.users);
        let found = sqlx::query_scalar(AssertSqlSafe(sql)).bind(user_id);
        Ok(found.fetch_one(self.0.statement()).await?)
    }

    /// The tables that have rows of a user, and how many; what operators did about the user is not among them.
    pub async fn rows_of(
        &self,
        retention: &Retention,
        user_id: Uuid,
    ) -> Result<Vec<(&'static str, i64)>, Error> {
        let mut rows = Vec::new();
        for table in personal_tables(retention) {
            let sql = format!("SELECT count(*) FROM jobs.{table} WHERE user_id = $1");
            let count = sqlx::query_scalar(AssertSqlSafe(sql)).bind(user_id);
            rows.push((table, count.fetch_one(self.0.statement()).await?));
        }
        rows.retain(|(_, count)| *count > 0);
        Ok(rows)
    }

    /// Deletes what [`Sweeps::rows_of`] counts, and returns how many rows. Cut off, the same again continues.
    pub async fn forget(&self, retention: &Retention, user_id: Uuid) -> Result<u64, Error> {
        let mut deleted = 0;
        for table in personal_tables(retention) {
            let sql = format!("DELETE FROM jobs.{table} WHERE user_id = $1");
            let query = sqlx::query(AssertSqlSafe(sql)).bind(user_id);
            deleted += query.execute(self.0.statement()).await?.rows_affected();
        }
        Ok(deleted)
    }

    async fn delete_aged(&self, aged: &Aged, condition: &str, now: DateTime<Utc>) -> Result<u64, Error> {
        let Aged { table, time, days } = aged;
        let sql = format!(
            "DELETE FROM jobs.{table} WHERE ctid = ANY (ARRAY(
                SELECT t.ctid FROM jobs.{table} t WHERE t.{time} < $1 AND {condition} LIMIT $2 FOR UPDATE SKIP LOCKED
             ))"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(now - TimeDelta::days(*days)).bind(STEP);
        Ok(query.execute(self.0.statement()).await?.rows_affected())
    }

    /// Continues the search through a table, or begins the next one when it is due.
    async fn erase_deleted_users(
        &self,
        &Personal { table, step }: &Personal,
        users: &str,
        now: DateTime<Utc>,
        has_time: impl Fn() -> bool,
    ) -> Result<u64, Error> {
        let mut after = sqlx::query_scalar!(
            r#"
            INSERT INTO jobs.erasures AS e (table_name, began_at, after) VALUES ($1, $2, $3)
            ON CONFLICT (table_name) DO UPDATE
            SET began_at = CASE WHEN e.after IS NULL THEN excluded.began_at ELSE e.began_at END,
                after = COALESCE(e.after, excluded.after)
            WHERE e.after IS NOT NULL OR e.began_at <= $4
            RETURNING after AS "after!"
            "#,
            table,
            now,
            Uuid::nil(),
            now - SEARCH_INTERVAL,
        )
        .fetch_optional(self.0.statement())
        .await?;
        if after.is_none() {
            return Ok(0);
        }
        let mut erased = 0;
        while let Some(begin) = after.filter(|_| has_time()) {
            let (deleted_users, end) = self.deleted_users(table, users, begin).await?;
            let deleted = self.erase(table, step, &deleted_users).await?;
            erased += deleted;
            // There may be more of these users.
            if deleted < step.unsigned_abs() {
                after = end;
            }
        }
        sqlx::query!("UPDATE jobs.erasures SET after = $2 WHERE table_name = $1", table, after)
            .execute(self.0.statement())
            .await?;
        Ok(erased)
    }

    /// Of the next users that a table has rows of, those who are deleted; and the last, `None` at the end of the table.
    async fn deleted_users(
        &self,
        table: &str,
        users: &str,
        after: Uuid,
    ) -> Result<(Vec<Uuid>, Option<Uuid>), Error> {
        // From user to user by the index, however many rows each has.
        let sql = format!(
            "WITH RECURSIVE found AS (
                (SELECT user_id FROM jobs.{table} WHERE user_id > $1 ORDER BY user_id LIMIT 1)
                UNION ALL
                SELECT (SELECT t.user_id FROM jobs.{table} t WHERE t.user_id > f.user_id ORDER BY t.user_id LIMIT 1)
                FROM found f WHERE f.user_id IS NOT NULL
             ), page AS (
                SELECT user_id FROM found WHERE user_id IS NOT NULL LIMIT $2
             )
             SELECT user_id, (SELECT u.id FROM {users} u WHERE u.id = page.user_id) IS NULL FROM page"
        );
        let page: Vec<(Uuid, bool)> =
            sqlx::query_as(AssertSqlSafe(sql)).bind(after).bind(USERS).fetch_all(self.0.statement()).await?;
        let is_full = i64::try_from(page.len()).is_ok_and(|found| found == USERS);
        let end = page.last().filter(|_| is_full).map(|&(user_id, _)| user_id);
        Ok((page.into_iter().filter(|&(_, deleted)| deleted).map(|(user_id, _)| user_id).collect(), end))
    }

    async fn erase(&self, table: &str, step: i64, users: &[Uuid]) -> Result<u64, Error> {
        if users.is_empty() {
            return Ok(0);
        }
        // User by user, so that it reads no more rows than it deletes.
        let sql = format!(
            "DELETE FROM jobs.{table} WHERE ctid = ANY (ARRAY(
                SELECT found.ctid FROM unnest($1::uuid[]) AS u (id) CROSS JOIN LATERAL (
                    SELECT t.ctid FROM jobs.{table} t WHERE t.user_id = u.id LIMIT $2 FOR UPDATE SKIP LOCKED
                ) found LIMIT $2
             ))"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(users).bind(step);
        Ok(query.execute(self.0.statement()).await?.rows_affected())
    }
}
