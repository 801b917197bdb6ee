//! The circuit breaker against a simple model, and under many concurrent callers.

use std::time::Duration;

use catchup::payload::Integration::{GoogleCalendar, GoogleContacts};
use catchup::sync::{Admission, Admitted, Ended, Entry, Refusal, SyncKind, SyncRun, Syncs};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use shared::job::Outcome;
use tests::database::{Database, now};
use uuid::Uuid;

use super::admission;

async fn admit(database: &Database, user: Uuid, at: DateTime<Utc>) -> Admission {
    admission(database, user, GoogleContacts, Entry::Check, at).await
}

#[track_caller]
fn admitted(admission: Admission) -> Admitted {
    match admission {
        Admission::Admitted(admitted) => admitted,
        Admission::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn run(user_id: Uuid) -> SyncRun {
    SyncRun {
        user_id,
        integration: GoogleContacts,
        kind: SyncKind::Incremental,
        duration: Duration::from_millis(5),
        items: 0,
        api_calls: 1,
        api_calls_saved: None,
    }
}

/// Three failures in a row, the last at `at`.
async fn trip(database: &Database, user: Uuid, at: DateTime<Utc>) {
    let admitted = admitted(admit(database, user, at).await);
    for _ in 0..3 {
        database.of::<Syncs>().failed(&run(user), &admitted, "google answers 500", true, at).await.unwrap();
    }
}

#[tokio::test]
async fn who_may_not_be_synced_is_refused_for_a_reason() {
    let database = Database::new().await;
    assert_eq!(admit(&database, Uuid::new_v4(), now()).await, Admission::Refused(Refusal::UnknownUser));
    let user = database.user(&[GoogleCalendar]).await;
    assert_eq!(admit(&database, user, now()).await, Admission::Refused(Refusal::NotConnected));
    let user = database.user(&[GoogleContacts]).await;
    assert!(!admitted(admit(&database, user, now()).await).probe);
    database
        .run(
            "INSERT INTO token_health (user_id, integration_type, status)
              SELECT user_id, provider, 'revoked' FROM oauth_tokens",
        )
        .await;
    assert_eq!(admit(&database, user, now()).await, Admission::Refused(Refusal::TokenRevoked));
}

#[tokio::test]
async fn three_failures_in_a_row_open_it_for_an_hour() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    trip(&database, user, now()).await;
    let late = now() + TimeDelta::minutes(59);
    assert_eq!(admit(&database, user, late).await, Admission::Refused(Refusal::CircuitOpen));
    assert!(admitted(admit(&database, user, now() + TimeDelta::hours(1)).await).probe);
}

#[tokio::test]
async fn half_open_lets_exactly_one_of_fifty_through() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    trip(&database, user, now()).await;
    let later = now() + TimeDelta::hours(2);
    let admissions = join_all((0..50).map(|_| admit(&database, user, later))).await;
    let let_through =
        admissions.iter().filter(|admission| matches!(admission, Admission::Admitted(_))).count();
    assert_eq!(let_through, 1);
}

#[tokio::test]
async fn a_probe_that_vanishes_keeps_others_out_for_an_hour() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    trip(&database, user, now()).await;
    let probe = now() + TimeDelta::hours(1);
    admitted(admit(&database, user, probe).await);
    let refused = admit(&database, user, probe + TimeDelta::minutes(59)).await;
    assert_eq!(refused, Admission::Refused(Refusal::CircuitOpen));
    admitted(admit(&database, user, probe + TimeDelta::hours(1)).await);
}

#[tokio::test]
async fn a_probe_that_is_handed_back_may_be_taken_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    trip(&database, user, now()).await;
    let later = now() + TimeDelta::hours(1);
    let syncs = database.of::<Syncs>();
    let nothing = || Ok(Ended::Here(Outcome::Skipped("nothing")));
    for _ in 0..2 {
        let probe = |admission| async move {
            assert!(admitted(admission).probe);
            nothing()
        };
        syncs.run(user, GoogleContacts, Entry::First, "task", || later, probe).await.unwrap();
    }
    // One that failed has nothing to hand back.
    let failing = |admission| async {
        syncs.failed(&run(user), &admitted(admission), "", false, later).await?;
        nothing()
    };
    syncs.run(user, GoogleContacts, Entry::First, "task", || later, failing).await.unwrap();
    assert_eq!(admit(&database, user, later).await, Admission::Refused(Refusal::CircuitOpen));
}

#[tokio::test]
async fn a_probe_that_continues_in_another_task_keeps_others_out() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    trip(&database, user, now()).await;
    let later = now() + TimeDelta::hours(1);
    let part = |admission| async move {
        assert!(admitted(admission).probe);
        Ok(Ended::Continued(Outcome::Skipped("continued"), later))
    };
    database.of::<Syncs>().run(user, GoogleContacts, Entry::First, "task", || later, part).await.unwrap();
    assert_eq!(admit(&database, user, later).await, Admission::Refused(Refusal::CircuitOpen));
}

#[tokio::test]
async fn the_attempts_of_one_task_are_one_failure() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let first = admitted(admit(&database, user, now()).await);
    for is_last in [false, false, false, false, true] {
        database
            .of::<Syncs>()
            .failed(&run(user), &first, "google answers 500", is_last, now())
            .await
            .unwrap();
    }
    admitted(admit(&database, user, now()).await);
    assert_eq!(database.value::<i32>("SELECT failure_count FROM circuit_breaker_state").await, 1);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM sync_metrics WHERE result = 'failure'").await, 5);
}

#[tokio::test]
async fn a_sync_that_continues_does_not_ask_the_breaker_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    trip(&database, user, now()).await;
    let entry = Entry::Continued(Uuid::nil());
    let admission = admission(&database, user, GoogleContacts, entry, now()).await;
    assert!(!admitted(admission).probe);
}

/// Something that happens, some minutes after what happened before.
#[derive(Debug, Clone, Copy)]
enum Event {
    Success,
    Failure,
}

/// The breaker once more, without a database.
#[derive(Debug, Default)]
struct Model {
    failures: u32,
    blocked_until: Option<DateTime<Utc>>,
}

impl Model {
    fn admits(&mut self, at: DateTime<Utc>) -> bool {
        match self.blocked_until {
            Some(until) if at < until => false,
            Some(_) => {
                self.blocked_until = Some(at + TimeDelta::hours(1));
                true
            }
            None => true,
        }
    }

    fn ends(&mut self, event: Event, at: DateTime<Utc>) {
        match event {
            Event::Success => *self = Self::default(),
            Event::Failure => {
                self.failures += 1;
                if self.failures >= 3 {
                    self.blocked_until = Some(at + TimeDelta::hours(1));
                }
            }
        }
    }
}

#[tokio::test]
async fn any_history_agrees_with_the_model() {
    let database = Database::new().await;
    let event = prop_oneof![2 => Just(Event::Failure), 1 => Just(Event::Success)];
    let histories = proptest::collection::vec((event, 1_i64..100), 1..30);
    let mut runner = TestRunner::deterministic();
    for _ in 0..12 {
        let history = histories.new_tree(&mut runner).unwrap().current();
        let user = database.user(&[GoogleContacts]).await;
        let (mut model, mut at) = (Model::default(), now());
        for (event, minutes) in &history {
            at += TimeDelta::minutes(*minutes);
            let admission = admit(&database, user, at).await;
            assert_eq!(matches!(admission, Admission::Admitted(_)), model.admits(at), "{history:?}");
            let Admission::Admitted(admitted) = admission else { continue };
            match event {
                Event::Success => {
                    database.of::<Syncs>().succeeded(&run(user), &admitted, false, at).await.unwrap();
                }
                Event::Failure => {
                    database.of::<Syncs>().failed(&run(user), &admitted, "", true, at).await.unwrap();
                }
            }
            model.ends(*event, at);
        }
    }
}
