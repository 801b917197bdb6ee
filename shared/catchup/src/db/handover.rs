//! What has to be known of the application's database before a queue changes hands. For tools, never for a function.

use std::collections::{BTreeMap, BTreeSet};

use shared::db::Error;
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

/// Postgres' code for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";
/// How statements ask for tables that may be missing.
const ASKS_FOR: &str = "to_regclass('";

/// What the application's own jobs would do harm to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenWork {
    /// Push channels.
    pub channels: i64,
    /// Suggestions that wait for their user, snoozed ones included.
    pub suggestions: i64,
    /// Calendar tokens that are not revoked.
    pub calendar_tokens: i64,
}

super::handle! {
    /// The application's database, as a whole.
    Handovers
}

impl Handovers {
    /// Counts what is open.
    pub async fn open_work(&self) -> Result<OpenWork, Error> {
        let open = sqlx::query_as!(
            OpenWork,
            r#"
            SELECT (SELECT count(*) FROM calendar_webhook_subscriptions) AS "channels!",
                (SELECT count(*) FROM suggestions WHERE status IN ('pending', 'snoozed')) AS "suggestions!",
                (SELECT count(*) FROM oauth_tokens t
                 LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider
                 WHERE t.provider = 'google_calendar' AND h.status IS DISTINCT FROM 'revoked') AS "calendar_tokens!"
            "#,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(open)
    }

    /// The ciphertext of some access token; `None` when there is no token.
    pub async fn any_token(&self) -> Result<Option<String>, Error> {
        let token = sqlx::query_scalar!(
            "SELECT access_token FROM oauth_tokens WHERE provider IN ('google_calendar', 'google_contacts') LIMIT 1",
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(token)
    }

    /// Which of the indexes are not there, or not valid. An index is `table|CREATE INDEX ON table (columns)`.
    pub async fn missing_indexes<'a>(
        &self,
        wanted: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>, Error> {
        let found = sqlx::query_scalar!(
            r#"
            SELECT c.relname || '|' || replace(
                regexp_replace(pg_get_indexdef(i.indexrelid),
                    '^(CREATE (?:UNIQUE )?INDEX) .+? ON (?:ONLY )?(?:\S+\.)?(\S+) (USING .*)$', '\1 ON \2 \3'),
                ' USING btree (', ' (') AS "index!"
            FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            WHERE c.relnamespace = current_schema()::regnamespace AND i.indisvalid
            "#,
        )
        .fetch_all(self.0.statement())
        .await?;
        let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
        Ok(wanted.filter(|index| !found.contains(index)).collect())
    }

    /// Which of the statements the database cannot run, because a table, a column or a type is missing, and why: the reasons,
    /// each with the number of statements. A missing table that other statements first look for is not a problem.
    pub async fn unusable(&self, statements: &[String]) -> Result<BTreeMap<String, usize>, Error> {
        let optional: BTreeSet<_> = statements
            .iter()
            .flat_map(|statement| statement.split(ASKS_FOR).skip(1))
            .filter_map(|rest| rest.split('\'').next())
            .collect();
        let mut problems = BTreeMap::new();
        let mut transaction = self.0.begin().await?;
        for statement in statements {
            let text = AssertSqlSafe(statement.as_str()).into_sql_str();
            let Err(error) = transaction.statement().prepare(text).await else { continue };
            let Some(reason) = error.as_database_error() else { return Err(error.into()) };
            let is_optional = reason.code().as_deref() == Some(UNDEFINED_TABLE)
                && optional.iter().any(|table| reason.message().contains(table));
            if !is_optional {
                *problems.entry(reason.message().to_owned()).or_default() += 1;
            }
            // After an error, a transaction takes no other statement; and it has the only connection.
            drop(transaction);
            transaction = self.0.begin().await?;
        }
        Ok(problems)
    }
}
