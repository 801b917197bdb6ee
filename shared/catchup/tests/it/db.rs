//! All SQL against a real Postgres; every test has a database of its own.

mod calendars;
mod circuit_breaker;
mod contact_groups;
mod contacts;
mod lists;
mod meetings;
mod migrations;
mod plans;
mod retention;
mod schedule;
mod sync_locks;
mod tokens;

use catchup::payload::Integration::{self, GoogleCalendar};
use catchup::sync::{Admission, Ended, Entry, Syncs};
use chrono::{DateTime, Utc};
use shared::job::Outcome;
use tests::database::Database;
use uuid::Uuid;

/// The sync that holds the lock of a user who is [`syncing`].
const RUN: Uuid = Uuid::from_u128(1);

/// A user whose calendar sync is [`RUN`].
async fn syncing(database: &Database) -> Uuid {
    let user = database.user(&[GoogleCalendar]).await;
    lock(database, user, RUN).await;
    user
}

/// Gives the user's lock to a sync.
async fn lock(database: &Database, user: Uuid, run: Uuid) {
    database
        .run(format!(
            "INSERT INTO jobs.sync_locks (user_id, integration, run, since, held_until)
             VALUES ('{user}', 'google_calendar', '{run}', now(), now())
             ON CONFLICT (user_id, integration) DO UPDATE SET run = excluded.run"
        ))
        .await;
}

/// Whether a user's sync may begin. It does not end: a probe is not handed back.
async fn admission(
    database: &Database,
    user: Uuid,
    integration: Integration,
    entry: Entry,
    at: DateTime<Utc>,
) -> Admission {
    let mut admission = None;
    let begins = |given| {
        admission = Some(given);
        async move { Ok(Ended::Continued(Outcome::Skipped("begun"), at)) }
    };
    database.of::<Syncs>().run(user, integration, entry, "task", || at, begins).await.unwrap();
    admission.unwrap()
}
