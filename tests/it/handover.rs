//! Queues that change hands between the application's own service and a function, while tasks run.

use std::collections::BTreeMap;
use std::time::Duration;

use catchup::queues;
use local_cloud::tasks::Settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use shared::queue::Queue;
use tests::acting::RUNS;
use tests::handover::Handover;
use tests::predecessor::Predecessor;
use tests::{Instances, Stack, within};

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
    for flip in 0..FLIPS {
        for n in 0..TASKS_PER_FLIP {
            let key = format!("{flip}-{n}");
            let after_ms = rng.random_range(0..LONGEST_RUN_MS);
            fixture.create(&key, &json!({ "acts": ["succeed"], "afterMs": after_ms })).await;
            keys.push(key);
        }
        if flip % 2 == 0 {
            handover.take_over(fixture.instances.address()).await.unwrap();
        } else {
            handover.give_back().await.unwrap();
        }
    }
    fixture.until_empty().await;
    let (ours, theirs) = (fixture.ours().await, fixture.predecessor.record().runs);
    for key in &keys {
        let runs = ours.get(key).copied().unwrap_or_default()
            + i64::from(theirs.get(key).copied().unwrap_or_default());
        assert_eq!(runs, 1, "{key} ran {runs} times");
    }
    assert!(!ours.is_empty() && !theirs.is_empty(), "only one side ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_always_fails_runs_and_mails_as_often_as_the_side_that_has_it_declares() {
    let fixture = Fixture::start().await;
    let handover = fixture.handover();
    let attempts = QUEUE.policy().attempts;
    let fails = json!({ "acts": ["fail"] });
    let mails = json!({ "acts": ["fail"], "mail": true });
    let check = |key: &str, least: u32, most: u32| {
        let record = fixture.predecessor.record();
        let runs = record.runs.get(key).copied().unwrap_or_default();
        assert!((least..=most).contains(&runs), "{key}: {runs} runs in the old service");
        if key.starts_with("mails") {
            assert_eq!(record.mails.get(key).copied().unwrap_or_default(), runs, "{key}");
        }
    };

    handover.give_back().await.unwrap();
    for (key, data) in [("fails-before", &fails), ("mails-before", &mails)] {
        fixture.create(key, data).await;
    }
    fixture.until_empty().await;
    for key in ["fails-before", "mails-before"] {
        check(key, attempts, attempts);
    }

    for (key, data) in [("fails-during", &fails), ("mails-during", &mails)] {
        fixture.create(key, data).await;
    }
    let have_run = || async {
        let runs = fixture.predecessor.record().runs;
        runs.contains_key("fails-during") && runs.contains_key("mails-during")
    };
    within(TIMEOUT, "both have run once", have_run).await;
    handover.take_over(fixture.instances.address()).await.unwrap();
    let taken_over = fixture.predecessor.record();
    for (key, data) in [("fails-here", &fails), ("mails-here", &mails)] {
        fixture.create(key, data).await;
    }
    fixture.until_empty().await;
    let ours = fixture.ours().await;
    for key in ["fails-during", "mails-during"] {
        check(key, 1, attempts);
        assert_eq!(fixture.predecessor.record().runs[key], taken_over.runs[key], "{key} ran there after it");
        let has_ended_there = taken_over.runs[key] == attempts;
        let runs = ours.get(key).copied().unwrap_or_default();
        assert_eq!(runs, if has_ended_there { 0 } else { i64::from(attempts) }, "{key}");
    }
    for key in ["fails-here", "mails-here"] {
        check(key, 0, 0);
        assert_eq!(ours[key], i64::from(attempts), "{key}");
    }

    handover.give_back().await.unwrap();
    for (key, data) in [("fails-after", &fails), ("mails-after", &mails)] {
        fixture.create(key, data).await;
    }
    fixture.until_empty().await;
    for key in ["fails-after", "mails-after"] {
        check(key, attempts, attempts);
    }
    assert_eq!(fixture.ours().await, ours, "a task ran here after the queue was given back");
}
