//! `jobs.contacts_sync_state` and `google_contacts_sync_state`: where a user's sync of contacts continues.
//!
//! The application's table says when what was synced. Its `sync_token` is for the application, which asks with other
//! parameters: after a sync of ours it is null.

use chrono::{DateTime, Utc};
use shared::db::{Error, shortened};
use uuid::Uuid;

use super::{BegunWith, Contacts, ContactsPage};
use crate::payload::SyncType;

const ERROR_CHARS: usize = 500;

/// A sync token, with what decides whether Google still takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenToken {
    /// The token.
    pub token: String,
    /// When Google gave it.
    pub given_at: DateTime<Utc>,
    /// The parameters of the request that it was given for.
    pub parameters: String,
}

/// Where a user's sync of contacts continues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactsSyncState {
    /// What to ask for changes with; `None` asks for everything.
    pub token: Option<GivenToken>,
    /// What a listing that begins now begins with.
    pub begun_with: BegunWith,
    /// When a full sync first missed so many contacts that another has to confirm it.
    pub doubted_at: Option<DateTime<Utc>>,
    /// Contacts that were linked to a person at the end of the last sync.
    pub linked: u64,
}

impl Contacts {
    /// Where the sync continues; the default for a user who was never synced. A sync that `begins`, or continues, is in
    /// progress for the application until it succeeds or fails.
    pub async fn sync_state(&self, user_id: Uuid, begins: bool) -> Result<ContactsSyncState, Error> {
        let state = sqlx::query!(
            r#"
            WITH shown AS (
                INSERT INTO google_contacts_sync_state AS s (user_id, last_sync_status)
                SELECT $1, 'in_progress' WHERE $2
                ON CONFLICT (user_id) DO UPDATE SET last_sync_status = excluded.last_sync_status
                WHERE s.last_sync_status IS DISTINCT FROM excluded.last_sync_status
            )
            SELECT o.run AS "run?", o.sync_token AS "sync_token?", o.given_at, o.parameters, o.doubted_at, s.total_contacts_synced AS "linked?"
            FROM (SELECT $1::uuid AS user_id) u
            LEFT JOIN jobs.contacts_sync_state o USING (user_id)
            LEFT JOIN google_contacts_sync_state s USING (user_id)
            "#,
            user_id,
            begins,
        )
        .fetch_one(self.0.statement())
        .await?;
        let begun_with = BegunWith { run: state.run, sync_token: state.sync_token.clone() };
        let token = match (state.sync_token, state.given_at, state.parameters) {
            (Some(token), Some(given_at), Some(parameters)) => {
                Some(GivenToken { token, given_at, parameters })
            }
            _ => None,
        };
        Ok(ContactsSyncState {
            token,
            begun_with,
            doubted_at: state.doubted_at,
            linked: state.linked.map_or(0, |total| u64::try_from(total).unwrap_or(0)),
        })
    }

    /// Notes that a sync that was in progress may not continue, for the reason with this code.
    pub async fn sync_refused(&self, user_id: Uuid, code: &str) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE google_contacts_sync_state SET last_sync_status = 'failed', last_sync_error = $2
            WHERE user_id = $1 AND last_sync_status = 'in_progress'
            ",
            user_id,
            code,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Notes that a sync failed. The sync token stays. `error` is for operators: no secret, no personal datum.
    pub async fn sync_failed(&self, user_id: Uuid, error: &str) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO google_contacts_sync_state (user_id, last_sync_status, last_sync_error)
            VALUES ($1, 'failed', $2)
            ON CONFLICT (user_id) DO UPDATE SET last_sync_status = 'failed', last_sync_error = excluded.last_sync_error
            ",
            user_id,
            shortened(error, ERROR_CHARS),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }
}

impl ContactsPage {
    /// Notes that a sync succeeded, ends its run if it wrote pages, and keeps the token with which the next one begins.
    /// `recount` after a change.
    pub async fn store_sync_state(
        &mut self,
        sync_type: SyncType,
        token: &GivenToken,
        recount: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            WITH ours AS (
                INSERT INTO jobs.contacts_sync_state (user_id, sync_token, given_at, parameters)
                VALUES ($1, $2, $3, $4)
                ON CONFLICT (user_id) DO UPDATE
                SET sync_token = excluded.sync_token, given_at = excluded.given_at, parameters = excluded.parameters,
                    doubted_at = NULL, run = NULL, run_started_at = NULL, pages = NULL, page_token = NULL,
                    next_sync_token = NULL
            )
            INSERT INTO google_contacts_sync_state AS s
                (user_id, sync_token, last_full_sync_at, last_incremental_sync_at, total_contacts_synced,
                 last_sync_status, last_sync_error)
            VALUES (
                $1, NULL, CASE WHEN $5::boolean THEN $6::timestamptz END, CASE WHEN NOT $5 THEN $6 END,
                CASE WHEN $7::boolean THEN (
                    SELECT count(*) FROM contacts
                    WHERE user_id = $1 AND google_resource_name IS NOT NULL AND archived IS NOT TRUE
                ) END,
                'success', NULL
            )
            ON CONFLICT (user_id) DO UPDATE
            SET sync_token = NULL,
                last_full_sync_at = COALESCE(excluded.last_full_sync_at, s.last_full_sync_at),
                last_incremental_sync_at = COALESCE(excluded.last_incremental_sync_at, s.last_incremental_sync_at),
                total_contacts_synced = COALESCE(excluded.total_contacts_synced, s.total_contacts_synced),
                last_sync_status = excluded.last_sync_status, last_sync_error = NULL
            ",
            self.user_id,
            token.token,
            token.given_at,
            token.parameters,
            sync_type == SyncType::Full,
            now,
            recount,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }

    /// Notes that a full sync missed too much to be believed, and ends its run: the next sync is full again.
    pub async fn doubt(&mut self, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "
            UPDATE jobs.contacts_sync_state
            SET sync_token = NULL, given_at = NULL, parameters = NULL, doubted_at = COALESCE(doubted_at, $2),
                run = NULL, run_started_at = NULL, pages = NULL, page_token = NULL, next_sync_token = NULL
            WHERE user_id = $1
            ",
            self.user_id,
            now,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }
}
