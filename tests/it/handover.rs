//! Queues that change hands between the application's own service and a function, while tasks run.

use std::collections::BTreeMap;
use std::time::Duration;

use batch_notifications::BatchNotifications;
use catchup::{payload, queues};
use local_cloud::Background;
use local_cloud::tasks::Settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use shared::config::InvalidConfig;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::queue::Queue;
use tests::acting::RUNS;
use tests::handover::Handover;
use tests::predecessor::Predecessor;
use tests::{Instances, Messaging, Stack, within, zone_of_noon};
use uuid::Uuid;

const QUEUE: Queue = queues::TOKEN_REFRESH;
const BACKOFF_DIVISOR: u32 = 1_000;
const TIMEOUT: Duration = Duration::from_mins(2);
/// Changes of hands under load.
const FLIPS: usize = 6;
const TASKS_PER_FLIP: usize = 20;
const LONGEST_RUN_MS: u64 = 60;

struct Fixture {
    stack: Stack,
    predecessor: Predecessor,
    instances: Instances,
}

impl Fixture {
    async fn start() -> Self {
        let settings = Settings { backoff_divisor: BACKOFF_DIVISOR, ..Settings::default() };
        let stack = Stack::start_with(settings).await;
        stack.run(RUNS).await;
        let other = [("RETRY_BACKOFF_DIVISOR", BACKOFF_DIVISOR.to_string())];
        let instances = Instances::start(&stack, 2, other).await;
        let predecessor = Predecessor::start(&stack.database).unwrap();
        Self { stack, predecessor, instances }
    }

    fn handover(&self) -> Handover<'_> {
        Handover::new(&self.stack.tasks, QUEUE, self.predecessor.url())
    }

    /// Runs in the function, by key.
    async fn ours(&self) -> BTreeMap<String, i64> {
        let runs: Vec<(String, i64)> = self.stack.rows("SELECT key, count(*) FROM runs GROUP BY key").await;
        // The function's own prefix is no part of the producer's key.
        runs.into_iter().map(|(key, n)| (key.rsplit(':').next().unwrap_or_default().to_owned(), n)).collect()
    }

    async fn until_empty(&self) {
        let is_empty = || async { self.stack.tasks.count(QUEUE).await.unwrap() == 0 };
        within(TIMEOUT, "the queue is empty", is_empty).await;
    }

    async fn create(&self, key: &str, data: &Value) {
        self.handover().create(QUEUE.name(), Some(key), data).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_is_done_once_while_its_queue_changes_hands_under_load() {
    let fixture = Fixture::start().await;
    let handover = fixture.handover();
    let mut rng = StdRng::seed_from_u64(7);
    handover.give_back().await.unwrap();
    let mut keys = Vec::new();
    let done = async |is_ours| {
        if is_ours { fixture.ours().await.len() } else { fixture.predecessor.record().runs.len() }
    };
    for flip in 0..FLIPS {
        let is_ours = flip % 2 == 1;
        let before = done(is_ours).await;
        for n in 0..TASKS_PER_FLIP {
            let key = format!("{flip}-{n}");
            let after_ms = rng.random_range(0..LONGEST_RUN_MS);
            fixture.create(&key, &json!({ "acts": ["succeed"], "afterMs": after_ms })).await;
            keys.push(key);
        }
        within(TIMEOUT, "one is done here", async || done(is_ours).await > before).await;
        if is_ours {
            handover.give_back().await.unwrap();
        } else {
            handover.take_over(fixture.instances.address()).await.unwrap();
        }
    }
    fixture.until_empty().await;
    let (ours, theirs) = (fixture.ours().await, fixture.predecessor.record().runs);
    for key in &keys {
        let runs = ours.get(key).copied().unwrap_or_default()
            + i64::from(theirs.get(key).copied().unwrap_or_default());
        assert_eq!(runs, 1, "{key} ran {runs} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_always_fails_runs_as_often_as_the_side_that_has_it_declares() {
    let fixture = Fixture::start().await;
    let handover = fixture.handover();
    let attempts = QUEUE.policy().attempts;
    let fails = json!({ "acts": ["fail"] });
    let runs = async |key: &str| {
        let here = fixture.ours().await.get(key).copied().unwrap_or_default();
        (fixture.predecessor.record().runs.get(key).copied().unwrap_or_default(), here)
    };

    handover.give_back().await.unwrap();
    fixture.create("before", &fails).await;
    fixture.until_empty().await;
    assert_eq!(runs("before").await, (attempts, 0));

    fixture.predecessor.hold();
    fixture.create("during", &fails).await;
    pause_in_the_middle(&fixture.stack, &fixture.predecessor, QUEUE).await;
    handover.take_over(fixture.instances.address()).await.unwrap();
    fixture.create("here", &fails).await;
    fixture.until_empty().await;
    assert_eq!(runs("during").await, (1, attempts.into()), "its run there is none of ours");
    assert_eq!(runs("here").await, (0, attempts.into()));

    handover.give_back().await.unwrap();
    fixture.create("after", &fails).await;
    fixture.until_empty().await;
    assert_eq!(runs("after").await, (attempts, 0));
}

/// Pauses the queue while the old service runs a task, which it ends afterwards.
async fn pause_in_the_middle(stack: &Stack, predecessor: &Predecessor, queue: Queue) {
    within(TIMEOUT, "the old service runs it", async || predecessor.record().running == 1).await;
    stack.tasks.pause(queue).await.unwrap();
    predecessor.release();
}

/// Sends what is to be sent, and fails all the same.
struct FailsAfterwards(BatchNotifications);

impl Job for FailsAfterwards {
    type Payload = payload::BatchNotifications;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        BatchNotifications::new(setup).map(Self)
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        self.0.run(payload, context).await?;
        Err(Failure::transient("no luck"))
    }
}

/// A user who wants e-mail, with one suggestion; returns the user's id.
async fn user_with_a_suggestion(stack: &Stack, name: &str) -> Uuid {
    let (user, contact) = (Uuid::new_v4(), Uuid::new_v4());
    stack
        .run(&format!(
            "INSERT INTO users (id, email, google_id, timezone, last_calendar_sync)
             VALUES ('{user}', '{name}@example.test', '{name}', '{}', now());
             INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled) VALUES ('{user}', false, true);
             INSERT INTO contacts (id, user_id, name, email) VALUES ('{contact}', '{user}', 'Ben', 'ben@contact.test');
             INSERT INTO suggestions (user_id, contact_id, trigger_type, proposed_timeslot_start, proposed_timeslot_end,
                proposed_timeslot_timezone, reasoning)
             VALUES ('{user}', '{contact}', 'timebound', now() + interval '60 days',
                now() + interval '60 days 1 hour', 'UTC', 'why')",
            zone_of_noon()
        ))
        .await;
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mails_and_then_fails_mails_as_often_as_the_side_that_has_it_does() {
    let queue = queues::BATCH_NOTIFICATIONS;
    let attempts = queue.policy().attempts;
    let settings = Settings { backoff_divisor: BACKOFF_DIVISOR, ..Settings::default() };
    let stack = Stack::start_with(settings).await;
    let predecessor = Predecessor::start(&stack.database).unwrap();
    let messaging = Messaging::start();
    let mut environment = messaging.environment().to_vec();
    environment.extend([
        ("OIDC_ISSUER", stack.tasks.url()),
        ("OIDC_JWKS_URL", stack.tasks.jwks_url()),
        ("SERVICE_ACCOUNT_EMAIL", stack.tasks.settings().caller.clone()),
        ("RETRY_BACKOFF_DIVISOR", BACKOFF_DIVISOR.to_string()),
    ]);
    let job = FailsAfterwards::new(&mut stack.setup(environment.clone())).unwrap();
    let router = stack.service_with(job, environment).router;
    let function =
        Background::start("function", |listener| async { axum::serve(listener, router).await }).unwrap();
    let handover = Handover::new(&stack.tasks, queue, predecessor.url());

    let names = ["before", "during", "here", "after"];
    let mut users = BTreeMap::new();
    for name in names {
        users.insert(name, user_with_a_suggestion(&stack, name).await);
    }
    let create = async |name: &str| {
        let data = json!({ "userId": users[name], "acts": ["fail"] });
        handover.create(queue.name(), Some(name), &data).await.unwrap();
    };
    let until_empty = async || {
        within(TIMEOUT, "the queue is empty", async || stack.tasks.count(queue).await.unwrap() == 0).await;
    };
    // The old job sends all suggestions in each run; ours sends each user's once.
    let suggestions = i64::try_from(names.len()).unwrap();
    let check = async |name: &str, there: u32, here: i64| {
        let record = predecessor.record();
        assert_eq!(record.runs.get(name).copied().unwrap_or_default(), there, "runs of {name} there");
        let messages = record.messages.get(name).copied().unwrap_or_default();
        assert_eq!(messages, i64::from(there) * suggestions, "messages of {name} there");
        let failures = format!("SELECT count(*) FROM jobs.failures WHERE key = '{name}'");
        assert_eq!(stack.rows::<(i64,)>(&failures).await, [(here,)], "runs of {name} here");
        let mails = messaging.inbox.messages_to(&format!("{name}@example.test")).len();
        assert_eq!(mails, usize::from(here > 0), "mails of {name} here");
    };

    handover.give_back().await.unwrap();
    create("before").await;
    until_empty().await;
    check("before", attempts, 0).await;

    predecessor.hold();
    create("during").await;
    pause_in_the_middle(&stack, &predecessor, queue).await;
    handover.take_over(function.address()).await.unwrap();
    create("here").await;
    until_empty().await;
    check("during", 1, attempts.into()).await;
    check("here", 0, attempts.into()).await;
    assert_eq!(stack.dead_letters().await.len(), 2, "each is a dead letter");

    handover.give_back().await.unwrap();
    create("after").await;
    until_empty().await;
    check("after", attempts, 0).await;
    assert_eq!(messaging.inbox.messages().len(), 2, "the function sends no other message");
}
