//! Tables of the application's later migrations, which are there or not: what users exclude, pause and say of suggestions.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use shared::db::Error;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::suggestions::Feedback;

/// Which of them are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaterTables {
    pub(super) exclusions: bool,
    pub(super) pauses: bool,
    pub(super) feedback: bool,
}

impl LaterTables {
    /// Asks the database.
    pub(super) async fn find(statement: impl PgExecutor<'_>) -> Result<Self, Error> {
        let found = sqlx::query_as!(
            Self,
            r#"
            SELECT to_regclass('suggestion_exclusions') IS NOT NULL AS "exclusions!",
                to_regclass('suggestion_pauses') IS NOT NULL AS "pauses!",
                to_regclass('suggestion_feedback') IS NOT NULL AS "feedback!"
            "#,
        )
        .fetch_one(statement)
        .await?;
        Ok(found)
    }
}

/// Contacts that the user never wants to be suggested, as the application shows it, where `suggestion_exclusions` is.
pub(super) async fn excluded(statement: impl PgExecutor<'_>, user_id: Uuid) -> Result<HashSet<Uuid>, Error> {
    let excluded =
        sqlx::query_scalar!("SELECT contact_id FROM suggestion_exclusions WHERE user_id = $1", user_id)
            .fetch_all(statement)
            .await?;
    Ok(excluded.into_iter().collect())
}

/// Whether the user wants no suggestions now, where `suggestion_pauses` is.
pub(super) async fn is_paused(
    statement: impl PgExecutor<'_>,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let is_paused = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT FROM suggestion_pauses WHERE user_id = $1 AND pause_start <= $2 AND pause_end > $2
        ) AS "is_paused!"
        "#,
        user_id,
        now,
    )
    .fetch_one(statement)
    .await?;
    Ok(is_paused)
}

/// What the user said last of each suggestion, where `suggestion_feedback` is.
pub(super) async fn feedback(
    statement: impl PgExecutor<'_>,
    user_id: Uuid,
) -> Result<HashMap<Uuid, Feedback>, Error> {
    let rows = sqlx::query!(
        "SELECT suggestion_id, preset FROM suggestion_feedback WHERE user_id = $1 ORDER BY created_at",
        user_id,
    )
    .fetch_all(statement)
    .await?;
    let feedback = rows.into_iter().filter_map(|row| Some((row.suggestion_id, row.preset.parse().ok()?)));
    Ok(feedback.collect())
}
