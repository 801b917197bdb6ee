//! The run of a sync in `jobs.contacts_sync_state`: one per user, and the place of its listing.
//!
//! Each page is written under the number that the run expects next, in one transaction with its row: a part that is
//! delivered twice, late, or after another run began writes nothing and ends nothing.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::{Contacts, ContactsPage};

/// Rows of pages that one statement removes.
const STEP: i64 = 100;

/// How the listing of a run continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// With this page token.
    Page(String),
    /// Every page is written; the next sync begins with this token.
    End(String),
}

/// A page on its way into the database.
#[derive(Debug, Clone, Copy)]
pub struct ListedPage<'a> {
    /// The run that listed it.
    pub run: Uuid,
    /// How many pages came before.
    pub number: i32,
    /// What was stored when the run began: for its first page.
    pub begun_with: &'a BegunWith,
    /// What follows it.
    pub next: &'a Place,
}

/// What of the user's state a listing began with. While it is stored, no other sync has begun or ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BegunWith {
    /// The run that is under way, or was given up.
    pub run: Option<Uuid>,
    /// The sync token, whether or not the listing uses it.
    pub sync_token: Option<String>,
}

impl Contacts {
    /// How many pages a run has written, and how it continues. `None` when it is not the user's run any more.
    pub async fn place(&self, user_id: Uuid, run: Uuid) -> Result<Option<(i32, Place)>, Error> {
        let row = sqlx::query!(
            "SELECT pages, page_token, next_sync_token FROM jobs.contacts_sync_state WHERE user_id = $1 AND run = $2",
            user_id,
            run,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(row.and_then(|row| {
            let next = row.page_token.map(Place::Page).or(row.next_sync_token.map(Place::End))?;
            Some((row.pages?, next))
        }))
    }

    /// Removes the rows of pages of runs that are not the user's any more, in bounded steps.
    pub async fn forget_pages(&self, user_id: Uuid) -> Result<(), Error> {
        loop {
            let removed = sqlx::query!(
                "
                DELETE FROM jobs.contacts_sync_pages
                WHERE (user_id, run, page) IN (
                    SELECT user_id, run, page FROM jobs.contacts_sync_pages
                    WHERE user_id = $1
                      AND run IS DISTINCT FROM (SELECT run FROM jobs.contacts_sync_state WHERE user_id = $1)
                    LIMIT $2
                )
                ",
                user_id,
                STEP,
            )
            .execute(self.0.statement())
            .await?;
            if removed.rows_affected() < STEP.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

impl ContactsPage {
    /// Takes the page's place in its run; the first page begins the run. `false` when the place is another's: the run was
    /// replaced, the page is written already, or another sync has begun or ended since this one began.
    /// Other pages of the user wait until this one ends.
    pub async fn take_place(&mut self, page: ListedPage<'_>, now: DateTime<Utc>) -> Result<bool, Error> {
        let (page_token, next_sync_token) = match page.next {
            Place::Page(token) => (Some(token), None),
            Place::End(token) => (None, Some(token)),
        };
        let taken = if page.number == 0 {
            sqlx::query!(
                "
                INSERT INTO jobs.contacts_sync_state AS s
                    (user_id, run, run_started_at, pages, page_token, next_sync_token)
                VALUES ($1, $2, $3, 1, $4, $5)
                ON CONFLICT (user_id) DO UPDATE
                SET run = excluded.run, run_started_at = excluded.run_started_at, pages = excluded.pages,
                    page_token = excluded.page_token, next_sync_token = excluded.next_sync_token
                WHERE s.run IS NOT DISTINCT FROM $6 AND s.sync_token IS NOT DISTINCT FROM $7
                ",
                self.user_id,
                page.run,
                now,
                page_token,
                next_sync_token,
                page.begun_with.run,
                page.begun_with.sync_token,
            )
            .execute(self.tx.statement())
            .await?
        } else {
            sqlx::query!(
                "
                UPDATE jobs.contacts_sync_state
                SET pages = $3 + 1, page_token = $4, next_sync_token = $5
                WHERE user_id = $1 AND run = $2 AND pages = $3
                ",
                self.user_id,
                page.run,
                page.number,
                page_token,
                next_sync_token,
            )
            .execute(self.tx.statement())
            .await?
        };
        Ok(taken.rows_affected() == 1)
    }

    /// Holds the state that a listing without a page began with. `false` when another sync has begun or ended since.
    pub async fn hold_begin(&mut self, begun_with: &BegunWith) -> Result<bool, Error> {
        let held = sqlx::query_scalar!(
            r#"
            SELECT true AS "held!" FROM jobs.contacts_sync_state
            WHERE user_id = $1 AND run IS NOT DISTINCT FROM $2 AND sync_token IS NOT DISTINCT FROM $3
            FOR UPDATE
            "#,
            self.user_id,
            begun_with.run,
            begun_with.sync_token,
        )
        .fetch_optional(self.tx.statement())
        .await?;
        Ok(held.is_some())
    }

    /// Holds the place of a run whose last page is written. `false` when it is not the user's run any more, or when a page
    /// of a full listing is missing.
    pub async fn hold_end(&mut self, run: Uuid, is_full: bool) -> Result<bool, Error> {
        let held = sqlx::query_scalar!(
            r#"
            SELECT true AS "held!" FROM jobs.contacts_sync_state s
            WHERE s.user_id = $1 AND s.run = $2 AND s.next_sync_token IS NOT NULL AND (
                NOT $3::boolean
                OR s.pages = (SELECT count(*) FROM jobs.contacts_sync_pages p WHERE p.user_id = $1 AND p.run = $2)
            )
            FOR UPDATE
            "#,
            self.user_id,
            run,
            is_full,
        )
        .fetch_optional(self.tx.statement())
        .await?;
        Ok(held.is_some())
    }
}
