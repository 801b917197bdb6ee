//! Containers die around a message, at every step of sending it: no message is sent twice, and what may be lost is
//! known.

use std::time::Duration;

use catchup::queues;
use local_cloud::LocalCloud;
use messaging_stand_in::{Channel, Fault, Kind};
use serde_json::json;
use shared::queue::Queue;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use uuid::Uuid;

use super::{TIMEOUT, create, database, small, start};
use tests::{within, zone_of_noon};

/// A text message of the one, and an e-mail of the other.
const QUEUES: [Queue; 2] = [queues::BATCH_NOTIFICATIONS, queues::NOTIFICATION_REMINDER];
/// Longer than the test.
const NEVER: u64 = 3_600_000;
/// What the ledger waits for while the test holds it.
const HOLD: i64 = 1;

/// Where the kill strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The subject is about to be claimed.
    BeforeClaim,
    /// The provider has the request, and has not accepted it.
    AfterClaim,
    /// The provider has accepted it, and has not answered.
    BeforeAnswer,
    /// The answer is there, and about to be recorded.
    BeforeRecord,
}

const STEPS: [Step; 4] = [Step::BeforeClaim, Step::AfterClaim, Step::BeforeAnswer, Step::BeforeRecord];

impl Step {
    /// Messages of which the provider knows, and what the ledger says in the end.
    fn expected(self) -> (usize, &'static str) {
        match self {
            Self::BeforeClaim => (1, "sent"),
            // It could have been accepted a moment later, so it is not sent again.
            Self::AfterClaim => (0, "unknown"),
            Self::BeforeAnswer | Self::BeforeRecord => (1, "unknown"),
        }
    }
}

/// A user who is to be notified by one channel only, and the step at which the sender dies.
struct User {
    id: Uuid,
    queue: Queue,
    channel: Channel,
    address: String,
    step: Step,
}

fn users() -> Vec<User> {
    let mut users = Vec::new();
    for (queue, channel) in QUEUES.into_iter().zip([Channel::Sms, Channel::Email]) {
        for step in STEPS {
            let address = match channel {
                Channel::Sms => format!("+1212555010{}", users.len()),
                Channel::Email => format!("{step:?}@example.test").to_lowercase(),
            };
            users.push(User { id: Uuid::new_v4(), queue, channel, address, step });
        }
    }
    users
}

async fn insert(db: &mut PgConnection, user: &User) {
    let (id, address, contact) = (user.id, &user.address, Uuid::new_v4());
    let zone = zone_of_noon();
    let sql = match user.channel {
        Channel::Sms => format!(
            "INSERT INTO users (id, email, google_id, timezone, last_calendar_sync)
             VALUES ('{id}', '{id}@example.test', '{id}', '{zone}', '2100-01-01');
             INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
             VALUES ('{id}', '{address}', '', true);
             INSERT INTO contacts (id, user_id, name) VALUES ('{contact}', '{id}', 'Ben');
             INSERT INTO suggestions (user_id, contact_id, trigger_type, proposed_timeslot_start,
                proposed_timeslot_end, proposed_timeslot_timezone, reasoning)
             VALUES ('{id}', '{contact}', 'timebound', now() + interval '60 days', now() + interval '1441 hours', 'UTC', 'why')"
        ),
        Channel::Email => format!(
            "INSERT INTO users (id, email, google_id, timezone, last_calendar_sync)
             VALUES ('{id}', '{address}', '{id}', '{zone}', '2100-01-01');
             INSERT INTO token_health_notifications
                (user_id, integration_type, notification_type, message, re_auth_link, created_at)
             VALUES ('{id}', 'google_calendar', 'token_invalid', '', '', timezone('UTC', now()) - interval '8 days')"
        ),
    };
    db.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// Lets the ledger wait where a user's message is to be cut short.
async fn hold(db: &mut PgConnection, users: &[User]) {
    let sql = format!(
        "SELECT pg_advisory_lock({HOLD});
         CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
         $$ BEGIN PERFORM pg_advisory_xact_lock({HOLD}); RETURN NEW; END $$"
    );
    db.execute(AssertSqlSafe(sql)).await.unwrap();
    for (step, statement) in [(Step::BeforeClaim, "INSERT"), (Step::BeforeRecord, "UPDATE")] {
        let held: Vec<_> =
            users.iter().filter(|user| user.step == step).map(|user| format!("'{}'", user.id)).collect();
        let held = held.join(", ");
        let sql = format!(
            "CREATE TRIGGER hold_{statement} BEFORE {statement} ON jobs.notification_deliveries
             FOR EACH ROW WHEN (NEW.user_id IN ({held})) EXECUTE FUNCTION hold()"
        );
        db.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

async fn held(cloud: &LocalCloud) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
    sqlx::query_scalar(sql).fetch_one(&mut database(cloud).await).await.unwrap()
}

/// Ends the statements that outlive their process, as a network that is gone does, and releases the ledger.
async fn let_go(cloud: &LocalCloud, db: &mut PgConnection) {
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'",
    )
    .await
    .unwrap();
    within(TIMEOUT, "rid of its statements", || async { held(cloud).await == 0 }).await;
    let sql = format!("DROP FUNCTION hold CASCADE; SELECT pg_advisory_unlock({HOLD})");
    db.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// What providers and the ledger know of each user.
async fn known(cloud: &LocalCloud, users: &[User]) -> Vec<(Queue, Step, usize, String)> {
    let mut db = database(cloud).await;
    let mut known = Vec::new();
    for user in users {
        let sql = "SELECT string_agg(state, ',') FROM jobs.notification_deliveries WHERE user_id = $1";
        let states: Option<String> = sqlx::query_scalar(sql).bind(user.id).fetch_one(&mut db).await.unwrap();
        let messages = cloud.inbox().messages_to(&user.address).len();
        known.push((user.queue, user.step, messages, states.unwrap_or_default()));
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_step_of_sending_sends_nothing_twice_and_leaves_unknown_deliveries_in_the_ledger() {
    let mut cloud = start(small()).await;
    let inbox = cloud.inbox().clone();
    let users = users();
    let mut db = database(&cloud).await;
    for user in &users {
        insert(&mut db, user).await;
        let kind = match user.step {
            Step::AfterClaim => Kind::Slow { delay_ms: NEVER },
            Step::BeforeAnswer => Kind::AcceptThenSlow { delay_ms: NEVER },
            Step::BeforeClaim | Step::BeforeRecord => continue,
        };
        inbox.fault(Fault::new(user.channel, kind).to(&user.address));
    }
    hold(&mut db, &users).await;
    for user in &users {
        create(&cloud, user.queue, &json!({ "userId": user.id })).await;
    }
    // All but the first step of each channel have asked the provider; the first and the last wait for the ledger.
    let asked = u64::try_from(STEPS.len() - 1).unwrap();
    within(Duration::from_secs(25), "at all steps", || async {
        held(&cloud).await == 4
            && [Channel::Sms, Channel::Email].iter().all(|channel| inbox.requests(*channel) == asked)
    })
    .await;

    for queue in QUEUES {
        cloud.function_mut(queue).unwrap().kill().unwrap();
    }
    let_go(&cloud, &mut db).await;
    // The leases of the dead end, sooner than after their minute.
    tests::stack::redis(cloud.redis_url(), &["FLUSHDB"]).await;
    for queue in QUEUES {
        let function = cloud.function_mut(queue).unwrap();
        function.respawn().unwrap();
        function.ready().await.unwrap();
    }
    cloud.until_idle(TIMEOUT, |_| {}).await.unwrap();
    let expected: Vec<_> = users
        .iter()
        .map(|user| {
            let (messages, state) = user.step.expected();
            (user.queue, user.step, messages, state.to_owned())
        })
        .collect();
    assert_eq!(known(&cloud, &users).await, expected);

    // Nothing changes by itself: what is unknown is for an operator.
    for user in &users {
        create(&cloud, user.queue, &json!({ "userId": user.id })).await;
    }
    cloud.until_idle(TIMEOUT, |_| {}).await.unwrap();
    assert_eq!(known(&cloud, &users).await, expected);
    let ids: Vec<Uuid> = users.iter().map(|user| user.id).collect();
    let unmarked: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM token_health_notifications WHERE user_id = ANY ($1) AND reminder_sent_at IS NULL",
    )
    .bind(ids)
    .fetch_one(&mut db)
    .await
    .unwrap();
    let unknown = STEPS.iter().filter(|step| step.expected().1 == "unknown").count();
    assert_eq!(usize::try_from(unmarked), Ok(unknown), "only a known end marks a reminder");
    for queue in QUEUES {
        let lines = cloud.function_mut(queue).unwrap().lines();
        assert!(lines.iter().all(|line| ["done", "skipped"].contains(&line.outcome.as_str())), "{lines:?}");
    }
}
