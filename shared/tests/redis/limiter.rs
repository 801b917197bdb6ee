//! `shared::rate_limit`.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use shared::rate_limit::{GOOGLE_CALENDAR, Limit, Limiter, Verdict};
use shared::redis::{Patience, Value};
use shared::telemetry::Counter;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stack::{HandClock, Stack, client, eventually, metered};

const WINDOW_MS: i64 = 60_000;
const MAX: usize = 10;

static LIMIT: &Limit = &GOOGLE_CALENDAR;

fn ms(window: Duration) -> i64 {
    i64::try_from(window.as_millis()).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Wait(i64),
    Ask { process: usize, calls: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..40_000_i64).prop_map(Step::Wait),
        3 => (0..3_usize, 1..5_u32).prop_map(|(process, calls)| Step::Ask { process, calls }),
    ]
}

/// The model: the times of all calls that were allowed.
#[derive(Default)]
struct Model(Vec<i64>);

impl Model {
    fn ask(&mut self, now: i64, calls: u32) -> Verdict {
        let calls = calls as usize;
        // With this many calls inside the window there is no room: the newest `MAX - calls + 1`.
        let oldest_in_the_way = self.0.iter().rev().nth(MAX - calls).copied();
        let until = oldest_in_the_way.map(|time| time + WINDOW_MS);
        if let Some(until) = until.filter(|until| *until > now) {
            return Verdict::DeniedUntil(DateTime::from_timestamp_millis(until).unwrap());
        }
        self.0.extend(std::iter::repeat_n(now, calls));
        Verdict::Allowed
    }
}

#[test]
fn several_processes_in_turn_decide_as_one_list_of_times_would() {
    assert_eq!((ms(LIMIT.window), LIMIT.max as usize), (WINDOW_MS, MAX));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = runtime.block_on(Stack::start());
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            runtime.block_on(follows_the_model(&stack, steps))
        })
        .unwrap();
}

async fn follows_the_model(stack: &Stack, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let hand = HandClock::new();
    let process = || Limiter::new(stack.redis(), hand.clock());
    let processes = [process(), process(), process()];
    let subject = Uuid::new_v4();
    let mut model = Model::default();
    for step in steps {
        let (asked, calls) = match step {
            Step::Wait(ms) => {
                hand.advance(ms);
                continue;
            }
            Step::Ask { process, calls } => (&processes[process], calls),
        };
        let expected = model.ask(hand.ms(), calls);
        let verdict = asked.acquire_many(LIMIT, subject, calls).await;
        match (verdict, expected) {
            (Verdict::Allowed, Verdict::Allowed) => {}
            (Verdict::DeniedUntil(known), Verdict::DeniedUntil(until)) => {
                // A process may remember an earlier answer to fewer calls; one that remembers nothing is exact.
                prop_assert!(hand.ms() < known.timestamp_millis() && known <= until);
                let fresh = process().acquire_many(LIMIT, subject, calls).await;
                prop_assert_eq!(fresh, expected);
            }
            (Verdict::Allowed, Verdict::DeniedUntil(_)) | (Verdict::DeniedUntil(_), Verdict::Allowed) => {
                prop_assert_eq!(verdict, expected);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_100_concurrent_callers_in_several_processes_exactly_the_limit_pass() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let processes: Vec<_> = (0..100).map(|_| Limiter::new(stack.redis(), hand.clock())).collect();
    for processes_in_use in [1, 5, 100] {
        let subject = Uuid::new_v4();
        let mut callers = JoinSet::new();
        for caller in 0..100 {
            let limiter = processes[caller % processes_in_use].clone();
            callers.spawn(async move { limiter.acquire(LIMIT, subject).await });
        }
        let verdicts = callers.join_all().await;
        let allowed = verdicts.iter().filter(|verdict| **verdict == Verdict::Allowed).count();
        assert_eq!(allowed, MAX, "{processes_in_use} processes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_time_passes_and_clocks_disagree_no_window_has_more_than_the_limit() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let subject = Uuid::new_v4();
    let mut callers = JoinSet::new();
    for caller in 0..100_i64 {
        let limiter = Limiter::new(stack.redis(), hand.clock_off_by((caller % 7 - 3) * 400));
        let hand = hand.clone();
        callers.spawn(async move {
            let mut allowed = 0;
            for round in 0..5 {
                // In all about 1.9 windows: nothing is trimmed yet, so that Redis lists every call.
                hand.advance((caller * 13 + round * 31) % 450);
                allowed += usize::from(limiter.acquire(LIMIT, subject).await == Verdict::Allowed);
            }
            allowed
        });
    }
    let allowed: usize = callers.join_all().await.into_iter().sum();
    let key = format!("limit:google-calendar:{subject}");
    let Value::List(listed) = stack.ask(["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await else { panic!() };
    let times: Vec<i64> = listed
        .chunks(2)
        .map(|pair| match &pair[1] {
            Value::Text(score) => score.parse().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times.len(), allowed, "exactly the allowed calls are listed");
    assert!(allowed > MAX, "the window did slide");
    for calls in times.windows(MAX + 1) {
        assert!(calls[MAX] - calls[0] >= WINDOW_MS, "{calls:?}");
    }
}

/// Asks, and checks what that cost by our own count and by the gateway's.
async fn check_cost(
    stack: &Stack,
    limiter: &Limiter,
    subject: Uuid,
    calls: u32,
    allowed: bool,
    commands: u64,
) {
    let work = metered(limiter.acquire_many(LIMIT, subject, calls));
    let ((verdict, meter), bill) = stack.billed(work).await;
    assert_eq!(verdict == Verdict::Allowed, allowed, "{verdict:?}");
    assert_eq!((meter.get(Counter::RedisRateLimit), bill.billed), (commands, commands), "{bill:?}");
}

#[tokio::test]
async fn a_steady_check_costs_two_commands_and_a_known_denial_none() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let limiter = Limiter::new(stack.redis(), hand.clock());
    let subject = Uuid::new_v4();
    check_cost(&stack, &limiter, subject, 1, true, 3).await;
    for _ in 1..MAX {
        check_cost(&stack, &limiter, subject, 1, true, 2).await;
    }
    check_cost(&stack, &limiter, subject, 1, false, 3).await;
    for _ in 0..50 {
        check_cost(&stack, &limiter, subject, 1, false, 0).await;
    }
    hand.advance(WINDOW_MS);
    // Once in a window the outdated members are removed.
    check_cost(&stack, &limiter, subject, 1, true, 3).await;
    check_cost(&stack, &limiter, subject, 9, true, 2).await;
    check_cost(&stack, &limiter, subject, 1, false, 3).await;
}

#[tokio::test]
async fn no_calls_cost_nothing_and_too_many_never_fit() {
    let stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    let subject = Uuid::new_v4();
    check_cost(&stack, &limiter, subject, 0, true, 0).await;
    check_cost(&stack, &limiter, subject, 11, false, 4).await;
    check_cost(&stack, &limiter, subject, 10, true, 2).await;
}

#[tokio::test]
async fn a_burst_within_a_process_learns_of_its_denial_from_one_caller() {
    let stack = Stack::start().await;
    let limiter = Arc::new(Limiter::new(stack.redis(), HandClock::new().clock()));
    let subject = Uuid::new_v4();
    let mut callers = JoinSet::new();
    let ((), bill) = stack
        .billed(async {
            for _ in 0..100 {
                let limiter = Arc::clone(&limiter);
                callers.spawn(async move { limiter.acquire(LIMIT, subject).await });
            }
            while callers.join_next().await.is_some() {}
        })
        .await;
    assert_eq!(bill.billed, 1 + 2 * MAX as u64 + 3);
}

#[tokio::test]
async fn denied_calls_leave_nothing_and_a_subject_is_forgotten_in_time() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let subject = "203.0.113.7";
    let key = format!("limit:google-calendar:{subject}");
    for _ in 0..30 {
        let _ = Limiter::new(stack.redis(), hand.clock()).acquire(LIMIT, subject).await;
    }
    assert_eq!(stack.ask(["ZCARD", &key]).await, Value::Int(10));
    let Value::Int(left) = stack.ask(["PTTL", &key]).await else { panic!() };
    assert!(left > 2 * WINDOW_MS && left <= 3 * WINDOW_MS, "{left}");

    for _ in 0..40 {
        hand.advance(WINDOW_MS);
        let limiter = Limiter::new(stack.redis(), hand.clock());
        assert_eq!(limiter.acquire_many(LIMIT, subject, 10).await, Verdict::Allowed);
    }
    let Value::Int(listed) = stack.ask(["ZCARD", &key]).await else { panic!() };
    assert!(listed <= 30, "{listed}");
}

#[tokio::test]
async fn limits_and_subjects_do_not_share_calls() {
    let stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(limiter.acquire_many(LIMIT, one, 10).await, Verdict::Allowed);
    assert_ne!(limiter.acquire(LIMIT, one).await, Verdict::Allowed);
    assert_eq!(limiter.acquire(LIMIT, other).await, Verdict::Allowed);
    assert_eq!(limiter.acquire(&shared::rate_limit::GOOGLE_PEOPLE, one).await, Verdict::Allowed);
}

#[tokio::test]
async fn without_redis_calls_are_allowed_and_a_known_denial_still_holds() {
    let mut stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    let (known, unknown) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(limiter.acquire_many(LIMIT, known, 10).await, Verdict::Allowed);
    assert_ne!(limiter.acquire(LIMIT, known).await, Verdict::Allowed);
    stack.stop();
    let redis = client(stack.url(), Patience::default());
    eventually(async || {
        redis.run(shared::redis::Purpose::Cache, shared::redis::Command::new("PING")).await.err()
    })
    .await;
    assert_ne!(limiter.acquire(LIMIT, known).await, Verdict::Allowed);
    for _ in 0..20 {
        assert_eq!(limiter.acquire(LIMIT, unknown).await, Verdict::Allowed);
    }
}

#[tokio::test]
async fn a_key_of_another_kind_allows_rather_than_fails() {
    let stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    stack.ask(["SET", "limit:google-calendar:x", "not a sorted set"]).await;
    assert_eq!(limiter.acquire(LIMIT, "x").await, Verdict::Allowed);
}
