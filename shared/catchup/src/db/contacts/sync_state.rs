//! `google_contacts_sync_state`: where a user's sync of contacts continues.

use chrono::{DateTime, Utc};
use shared::db::{Error, shortened};
use uuid::Uuid;

use super::{Contacts, ContactsPage};
use crate::payload::SyncType;

const ERROR_CHARS: usize = 500;

/// Where a user's sync of contacts continues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactsSyncState {
    /// What to ask for changes with; `None` asks for everything.
    pub sync_token: Option<String>,
    /// Contacts that were linked to a person at the end of the last sync.
    pub linked: u64,
}

impl Contacts {
    /// Where the sync continues; the default for a user who was never synced.
    pub async fn sync_state(&self, user_id: Uuid) -> Result<ContactsSyncState, Error> {
        let state = sqlx::query!(
            "SELECT sync_token, total_contacts_synced FROM google_contacts_sync_state WHERE user_id = $1",
            user_id
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(state.map_or_else(ContactsSyncState::default, |state| ContactsSyncState {
            sync_token: state.sync_token,
            linked: state.total_contacts_synced.map_or(0, |total| u64::try_from(total).unwrap_or(0)),
        }))
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
    /// Notes that a sync succeeded, and where the next one continues. `recount` after a change.
    pub async fn store_sync_state(
        &mut self,
        sync_type: SyncType,
        sync_token: Option<&str>,
        recount: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        sqlx::query!(
            "
            INSERT INTO google_contacts_sync_state AS s
                (user_id, sync_token, last_full_sync_at, last_incremental_sync_at, total_contacts_synced,
                 last_sync_status, last_sync_error)
            VALUES (
                $1, $2, CASE WHEN $3::boolean THEN $4::timestamptz END, CASE WHEN NOT $3 THEN $4 END,
                CASE WHEN $5::boolean THEN (
                    SELECT count(*) FROM contacts
                    WHERE user_id = $1 AND google_resource_name IS NOT NULL AND archived IS NOT TRUE
                ) END,
                'success', NULL
            )
            ON CONFLICT (user_id) DO UPDATE
            SET sync_token = excluded.sync_token,
                last_full_sync_at = COALESCE(excluded.last_full_sync_at, s.last_full_sync_at),
                last_incremental_sync_at = COALESCE(excluded.last_incremental_sync_at, s.last_incremental_sync_at),
                total_contacts_synced = COALESCE(excluded.total_contacts_synced, s.total_contacts_synced),
                last_sync_status = excluded.last_sync_status, last_sync_error = NULL
            ",
            self.user_id,
            sync_token,
            sync_type == SyncType::Full,
            now,
            recount,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }
}
