//! One sync at a time per user and integration.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use catchup::payload::Integration::{self, GoogleCalendar, GoogleContacts};
use catchup::sync::{Admission, Admitted, Ended, Entry, Syncs};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use shared::job::{Failure, Outcome};
use tests::database::{Database, now};
use uuid::Uuid;

const DONE: Outcome = Outcome::Skipped("done");
const LIMIT: Duration = Duration::from_secs(10);
/// Longer than any sync's run and its grace.
const EXPIRED: TimeDelta = TimeDelta::minutes(20);

/// Runs a sync that ends immediately; `None` when it has to wait.
async fn sync(
    database: &Database,
    user: Uuid,
    integration: Integration,
    entry: Entry,
    at: DateTime<Utc>,
) -> Option<Uuid> {
    sync_in("another task", database, user, integration, entry, at).await
}

/// Likewise, in that task.
async fn sync_in(
    task: &str,
    database: &Database,
    user: Uuid,
    integration: Integration,
    entry: Entry,
    at: DateTime<Utc>,
) -> Option<Uuid> {
    let mut name = None;
    let ends = |admission| {
        name = Some(admitted(admission).run);
        async { Ok(Ended::Here(DONE)) }
    };
    let outcome = database.of::<Syncs>().run(user, integration, entry, task, || at, ends).await.unwrap();
    match outcome {
        DONE => name,
        Outcome::Snooze(until) => {
            assert!(at < until && until <= at + TimeDelta::minutes(1), "{until}");
            None
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn admitted(admission: Admission) -> Admitted {
    match admission {
        Admission::Admitted(admitted) => admitted,
        Admission::Refused(refusal) => panic!("{refusal:?}"),
    }
}

/// A sync that vanished: the process was killed.
async fn vanish(database: &Database, user: Uuid, integration: Integration, at: DateTime<Utc>) {
    let syncs = database.of::<Syncs>();
    let forever = |_| std::future::pending();
    let run = syncs.run(user, integration, Entry::First, "killed", || at, forever);
    let locked = async {
        let taken = async || database.value::<i64>("SELECT count(*) FROM jobs.sync_locks").await == 1;
        tests::within(LIMIT, "the lock is taken", taken).await;
    };
    tokio::select! {
        _ = run => unreachable!(),
        () = locked => {}
    }
}

#[tokio::test]
async fn one_of_twenty_syncs_that_begin_together_runs_and_the_others_are_rescheduled() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let syncs = database.of::<Syncs>();
    let (syncs, running, waits) = (&syncs, &AtomicU32::new(0), &tokio::sync::Barrier::new(20));
    let outcomes = join_all((0..20).map(|task| async move {
        let alone = |_| async {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
            waits.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Ended::Here(DONE))
        };
        let outcome =
            syncs.run(user, GoogleCalendar, Entry::First, &task.to_string(), now, alone).await.unwrap();
        if outcome != DONE {
            waits.wait().await;
        }
        outcome
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == DONE).count(), 1);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM sync_metrics").await, 0, "no user was skipped");
    assert!(sync(&database, user, GoogleCalendar, Entry::First, now()).await.is_some(), "it was released");
}

#[tokio::test]
async fn syncs_of_others_and_checks_of_the_same_user_do_not_wait() {
    let database = Database::new().await;
    let (user, other) =
        (database.user(&[GoogleCalendar, GoogleContacts]).await, database.user(&[GoogleCalendar]).await);
    vanish(&database, user, GoogleCalendar, now()).await;
    assert_eq!(sync(&database, user, GoogleCalendar, Entry::First, now()).await, None);
    assert!(sync(&database, user, GoogleContacts, Entry::First, now()).await.is_some());
    assert!(sync(&database, other, GoogleCalendar, Entry::First, now()).await.is_some());
    assert!(sync(&database, user, GoogleCalendar, Entry::Check, now()).await.is_some());
    assert_eq!(
        sync(&database, user, GoogleCalendar, Entry::First, now()).await,
        None,
        "the check took nothing"
    );
}

#[tokio::test]
async fn the_lock_of_a_killed_run_expires_by_itself() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    vanish(&database, user, GoogleCalendar, now()).await;
    let timeout = catchup::queues::CALENDAR_SYNC.policy().timeout();
    assert_eq!(sync(&database, user, GoogleCalendar, Entry::First, now() + timeout).await, None);
    assert!(sync(&database, user, GoogleCalendar, Entry::First, now() + EXPIRED).await.is_some());
}

#[tokio::test]
async fn a_redelivery_of_a_killed_run_takes_over_its_lock() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    vanish(&database, user, GoogleCalendar, now()).await;
    let (entry, held) = (Entry::First, "SELECT run FROM jobs.sync_locks");
    let killed = database.value::<Uuid>(held).await;
    assert_eq!(sync(&database, user, GoogleCalendar, entry, now()).await, None);
    let run = sync_in("killed", &database, user, GoogleCalendar, entry, now()).await.unwrap();
    assert_ne!(run, killed, "what the killed run may still write is refused");
    assert!(sync(&database, user, GoogleCalendar, entry, now()).await.is_some(), "it was released");
}

#[tokio::test]
async fn a_run_that_fails_releases_the_lock() {
    let database = Database::new().await;
    let user = database.user(&[GoogleCalendar]).await;
    let fails = |_| async { Err(Failure::transient("google answers 500")) };
    let failed = database.of::<Syncs>().run(user, GoogleCalendar, Entry::First, "failed", now, fails).await;
    assert!(failed.is_err());
    assert!(sync(&database, user, GoogleCalendar, Entry::First, now()).await.is_some());
}

#[tokio::test]
async fn no_other_sync_comes_between_two_parts_of_one() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let syncs = database.of::<Syncs>();
    let mut run = Uuid::nil();
    let part = |admission| {
        run = admitted(admission).run;
        async { Ok(Ended::Continued(DONE, now() + TimeDelta::minutes(2))) }
    };
    syncs.run(user, GoogleContacts, Entry::First, "first part", now, part).await.unwrap();
    let later = now() + TimeDelta::minutes(2);
    assert_eq!(sync(&database, user, GoogleContacts, Entry::First, later).await, None);
    assert_eq!(sync(&database, user, GoogleContacts, Entry::Continued(Uuid::new_v4()), later).await, None);
    assert_eq!(sync(&database, user, GoogleContacts, Entry::Continued(run), later).await, Some(run));
    assert!(sync(&database, user, GoogleContacts, Entry::First, later).await.is_some(), "it has ended");
}
