//! `shared::rate_limit`.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use shared::rate_limit::{Decision, Grant, Limit, Limiter, Plan};
use shared::redis::{Timeouts, Value};
use shared::telemetry::Counter;
use tests::{HandClock, RedisProxy, until_some};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::stack::{Stack, client, metered};

const WINDOW_MS: i64 = 60_000;
const MAX: usize = 10;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

static LIMIT: &Limit = &Limit { name: "calls", window: MINUTE, max: 10, outer: None };
static WIDE: Limit = Limit { name: "wide", window: MINUTE, max: 500, outer: None };
/// Texts and e-mails are messages.
static MESSAGE: Limit = Limit { name: "message", window: HOUR, max: 20, outer: None };
static TEXT: Limit = Limit { name: "text", window: HOUR, max: 10, outer: Some(&MESSAGE) };
static EMAIL: Limit = Limit { name: "email", window: HOUR, max: 20, outer: Some(&MESSAGE) };

fn key(subject: impl std::fmt::Display) -> String {
    format!("jobs:limit:calls:{subject}")
}

/// The entries of a record.
async fn recorded(stack: &Stack, key: &str) -> Vec<(i64, u32, String, u32)> {
    let Value::Text(record) = stack.ask(["GET", key]).await else { panic!("no record") };
    serde_json::from_str(&record).unwrap()
}

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
    fn ask(&mut self, now: i64, calls: u32) -> Decision {
        let calls = calls as usize;
        // With this many calls inside the window there is no room: the newest `MAX - calls + 1`.
        let oldest_in_the_way = self.0.iter().rev().nth(MAX - calls).copied();
        let until = oldest_in_the_way.map(|time| time + WINDOW_MS);
        if let Some(until) = until.filter(|until| *until > now) {
            return Decision::LimitedUntil(DateTime::from_timestamp_millis(until).unwrap());
        }
        self.0.extend(std::iter::repeat_n(now, calls));
        Decision::Allowed
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
        let decision = asked.acquire_many(LIMIT, subject, calls).await;
        match (decision, expected) {
            (Decision::Allowed, Decision::Allowed) => {}
            (Decision::LimitedUntil(known), Decision::LimitedUntil(until)) => {
                // A process may remember an earlier answer to fewer calls; one that remembers nothing is exact.
                prop_assert!(hand.ms() < known.timestamp_millis() && known <= until);
                let fresh = process().acquire_many(LIMIT, subject, calls).await;
                prop_assert_eq!(fresh, expected);
            }
            (Decision::Allowed, Decision::LimitedUntil(_))
            | (Decision::LimitedUntil(_), Decision::Allowed) => {
                prop_assert_eq!(decision, expected);
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
        let decisions = callers.join_all().await;
        let allowed = decisions.iter().filter(|decision| **decision == Decision::Allowed).count();
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
                // In all about 1.9 windows: nothing is removed yet, so that Redis lists every call.
                hand.advance((caller * 13 + round * 31) % 450);
                allowed += usize::from(limiter.acquire(LIMIT, subject).await == Decision::Allowed);
            }
            allowed
        });
    }
    let allowed: usize = callers.join_all().await.into_iter().sum();
    let mut times: Vec<i64> =
        recorded(&stack, &key(subject)).await.into_iter().map(|entry| entry.0).collect();
    times.sort_unstable();
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
    let ((decision, meter), bill) = stack.billed(work).await;
    assert_eq!(decision == Decision::Allowed, allowed, "{decision:?}");
    assert_eq!((meter.get(Counter::RedisRateLimit), bill.billed), (commands, commands), "{bill:?}");
}

#[tokio::test]
async fn a_check_costs_one_command_three_after_another_process_and_a_known_denial_none() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let process = || Limiter::new(stack.redis(), hand.clock());
    let (here, there) = (process(), process());
    let subject = Uuid::new_v4();
    check_cost(&stack, &here, subject, 1, true, 1).await;
    check_cost(&stack, &here, subject, 5, true, 1).await;
    // Refused, read, written.
    check_cost(&stack, &there, subject, 1, true, 3).await;
    check_cost(&stack, &there, subject, 1, true, 1).await;
    check_cost(&stack, &here, subject, 1, true, 3).await;
    check_cost(&stack, &here, subject, 1, true, 1).await;
    for _ in 0..50 {
        check_cost(&stack, &here, subject, 1, false, 0).await;
    }
    check_cost(&stack, &process(), subject, 1, false, 2).await;
    hand.advance(WINDOW_MS);
    check_cost(&stack, &here, subject, 10, true, 1).await;
    // Redis forgets a record about when its last entry is outdated: this process does not ask for it.
    hand.advance(2 * WINDOW_MS);
    stack.ask(["DEL", &key(subject)]).await;
    check_cost(&stack, &here, subject, 10, true, 1).await;
}

#[tokio::test]
async fn no_calls_cost_nothing_and_too_many_never_fit() {
    let stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    let subject = Uuid::new_v4();
    check_cost(&stack, &limiter, subject, 0, true, 0).await;
    check_cost(&stack, &limiter, subject, 11, false, 0).await;
    check_cost(&stack, &limiter, subject, 10, true, 1).await;
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
    assert_eq!(bill.billed, MAX as u64);
}

#[tokio::test]
async fn denied_calls_leave_nothing_and_a_subject_is_forgotten_in_time() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let subject = "203.0.113.7";
    for _ in 0..30 {
        let _ = Limiter::new(stack.redis(), hand.clock()).acquire(LIMIT, subject).await;
    }
    assert_eq!(recorded(&stack, &key(subject)).await.len(), MAX);
    let Value::Int(left) = stack.ask(["PTTL", &key(subject)]).await else { panic!() };
    assert!(left > WINDOW_MS && left <= 2 * WINDOW_MS, "{left}");

    for _ in 0..40 {
        hand.advance(WINDOW_MS);
        let limiter = Limiter::new(stack.redis(), hand.clock());
        assert_eq!(limiter.acquire_many(LIMIT, subject, 10).await, Decision::Allowed);
    }
    let listed = recorded(&stack, &key(subject)).await.len();
    assert!(listed <= 3, "{listed}");
}

#[tokio::test]
async fn a_request_whose_answer_is_lost_is_repeated_and_counts_once() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let subject = Uuid::new_v4();
    // The first record, and one that replaces another.
    for counted in [1, 2] {
        let lossy = RedisProxy::losing(stack.url().as_str(), 1);
        let limiter =
            Limiter::new(client(&lossy.url("client").parse().unwrap(), Timeouts::default()), hand.clock());
        assert_eq!(limiter.acquire(LIMIT, subject).await, Decision::Allowed);
        assert_eq!(recorded(&stack, &key(subject)).await.len(), counted);
    }
    let known = Limiter::new(stack.redis(), hand.clock());
    assert_eq!(known.acquire(LIMIT, subject).await, Decision::Allowed);
    let lossy = RedisProxy::losing(stack.url().as_str(), 2);
    let limiter =
        Limiter::new(client(&lossy.url("client").parse().unwrap(), Timeouts::default()), hand.clock());
    let rest = u32::try_from(MAX - 3).unwrap();
    // Lost twice in a row, no client can tell: allowed, and counted if it was carried out.
    assert_eq!(limiter.acquire_many(LIMIT, subject, rest).await, Decision::Allowed);
    assert_eq!(limiter.acquire_many(LIMIT, subject, rest).await, Decision::Allowed);
    assert_ne!(limiter.acquire(LIMIT, subject).await, Decision::Allowed);
    let calls: u32 = recorded(&stack, &key(subject)).await.iter().map(|entry| entry.1).sum();
    assert_eq!(calls as usize, MAX);
}

/// Messages that were allowed: the time, and whether it is a text.
#[derive(Default)]
struct Messages(Vec<(i64, bool)>);

impl Messages {
    /// How many more e-mails, or texts, fit.
    fn fit(&self, text: bool, now: i64) -> u32 {
        let inside = |wanted: Option<bool>| {
            let since = now - ms(MESSAGE.window);
            let counted = self
                .0
                .iter()
                .filter(|(time, text)| *time > since && wanted.is_none_or(|wanted| wanted == *text));
            u32::try_from(counted.count()).unwrap()
        };
        let own = if text { TEXT.max } else { EMAIL.max };
        (own - inside(Some(text))).min(MESSAGE.max - inside(None))
    }

    fn add(&mut self, text: bool, count: u32, now: i64) {
        self.0.extend(std::iter::repeat_n((now, text), count as usize));
    }
}

#[test]
fn limits_that_are_checked_together_grant_what_fits_into_each_and_into_their_outer_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = runtime.block_on(Stack::start());
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let step = (0..1_500_000_i64, 0..3_usize, 0..8_u32, 0..8_u32);
    TestRunner::new(config)
        .run(&prop::collection::vec(step, 1..40), |steps| {
            runtime.block_on(async {
                let hand = HandClock::new();
                let process = || Limiter::new(stack.redis(), hand.clock());
                let processes = [process(), process(), process()];
                let subject = Uuid::new_v4();
                let mut model = Messages::default();
                for (wait, process, emails, texts) in steps {
                    hand.advance(wait);
                    let now = hand.ms();
                    let limiter = &processes[process];
                    let grants = limiter.acquire_together(subject, [(&EMAIL, emails), (&TEXT, texts)]).await;
                    for (grant, text, asked) in [(grants[0], false, emails), (grants[1], true, texts)] {
                        let calls = asked.min(model.fit(text, now));
                        prop_assert_eq!(grant.calls, calls);
                        model.add(text, calls, now);
                    }
                    for (grant, text, asked) in [(grants[0], false, emails), (grants[1], true, texts)] {
                        prop_assert_eq!(grant.more_at.is_some(), grant.calls < asked);
                        if let Some(at) = grant.more_at.map(|at| at.timestamp_millis()) {
                            prop_assert!(at > now);
                            prop_assert_eq!(model.fit(text, at - 1), 0);
                            // The e-mails were decided on before the texts that may take their place.
                            prop_assert!(!text || model.fit(text, at) > 0);
                        }
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn what_a_plan_expects_is_acquired_with_the_first_call() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let limiter = Limiter::new(stack.redis(), hand.clock());
    let subject = Uuid::new_v4();
    let mut plan = Plan::new(&limiter, subject, [(LIMIT, 4)]);
    let ((), bill) = stack
        .billed(async {
            for _ in 0..4 {
                assert_eq!(plan.acquire(LIMIT).await, Decision::Allowed);
            }
        })
        .await;
    assert_eq!(bill.billed, 1);
    // Beyond what was expected one by one, and never more than the limit.
    for _ in 4..MAX {
        assert_eq!(plan.acquire(LIMIT).await, Decision::Allowed);
    }
    plan.expect(LIMIT, 3);
    let until = DateTime::from_timestamp_millis(hand.ms() + WINDOW_MS).unwrap();
    assert_eq!(plan.acquire(LIMIT).await, Decision::LimitedUntil(until));
    assert_eq!(limiter.acquire(LIMIT, subject).await, Decision::LimitedUntil(until));
}

#[tokio::test]
async fn a_plan_that_does_not_fit_gets_what_there_is() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let limiter = Limiter::new(stack.redis(), hand.clock());
    let subject = Uuid::new_v4();
    let mut plan = Plan::new(&limiter, subject, [(&EMAIL, 1), (&TEXT, 30)]);
    assert_eq!(plan.acquire(&EMAIL).await, Decision::Allowed);
    for _ in 0..TEXT.max {
        assert_eq!(plan.acquire(&TEXT).await, Decision::Allowed);
    }
    assert_ne!(plan.acquire(&TEXT).await, Decision::Allowed);
    let rest = MESSAGE.max - TEXT.max - 1;
    let [emails] = limiter.acquire_together(subject, [(&EMAIL, 30)]).await;
    assert_eq!(emails.calls, rest);
}

#[tokio::test]
async fn a_plan_asks_for_nothing_that_comes_before_and_makes_no_old_calls() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let limiter = Limiter::new(stack.redis(), hand.clock());
    let subject = Uuid::new_v4();
    let mut plan = Plan::new(&limiter, subject, [(&EMAIL, 5), (&TEXT, 2)]);
    assert_eq!(plan.acquire(&TEXT).await, Decision::Allowed);
    let [emails] = limiter.acquire_together(subject, [(&EMAIL, 20)]).await;
    assert_eq!(emails.calls, MESSAGE.max - 2, "no e-mails were acquired");

    let mut plan = Plan::new(&limiter, subject, [(LIMIT, 6)]);
    assert_eq!(plan.acquire(LIMIT).await, Decision::Allowed);
    hand.advance(WINDOW_MS / 2);
    let [grant] = limiter.acquire_together(subject, [(LIMIT, 0)]).await;
    assert_eq!(grant, Grant { calls: 0, more_at: None });
    // Of the five calls that were not made in time none is made; the four that still fit are acquired.
    for _ in 0..4 {
        assert_eq!(plan.acquire(LIMIT).await, Decision::Allowed);
    }
    assert_ne!(plan.acquire(LIMIT).await, Decision::Allowed);
}

#[tokio::test]
async fn limits_and_subjects_do_not_share_calls() {
    let stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(limiter.acquire_many(LIMIT, one, 10).await, Decision::Allowed);
    assert_ne!(limiter.acquire(LIMIT, one).await, Decision::Allowed);
    assert_eq!(limiter.acquire(LIMIT, other).await, Decision::Allowed);
    assert_eq!(limiter.acquire(&WIDE, one).await, Decision::Allowed);
}

#[tokio::test]
async fn without_redis_calls_are_allowed_and_a_known_denial_still_holds() {
    let mut stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    let (known, unknown) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(limiter.acquire_many(LIMIT, known, 10).await, Decision::Allowed);
    assert_ne!(limiter.acquire(LIMIT, known).await, Decision::Allowed);
    stack.stop();
    let redis = client(stack.url(), Timeouts::default());
    until_some(async || {
        redis.run(shared::redis::Purpose::Cache, shared::redis::Command::new("PING")).await.err()
    })
    .await;
    assert_ne!(limiter.acquire(LIMIT, known).await, Decision::Allowed);
    for _ in 0..20 {
        assert_eq!(limiter.acquire(LIMIT, unknown).await, Decision::Allowed);
    }
}

#[tokio::test]
async fn a_key_of_another_kind_allows_rather_than_fails() {
    let stack = Stack::start().await;
    let limiter = Limiter::new(stack.redis(), HandClock::new().clock());
    stack.ask(["SET", &key("x"), "no record"]).await;
    stack.ask(["LPUSH", &key("y"), "no string"]).await;
    for subject in ["x", "y"] {
        assert_eq!(limiter.acquire(LIMIT, subject).await, Decision::Allowed);
    }
}
