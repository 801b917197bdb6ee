//! `shared::cache`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, NaiveDate, TimeDelta};
use serde_json::json;
use shared::cache::{
    Cache, CacheKey, CalendarSlots, ContactList, ContactProfile, LOCAL_TIME_TO_LIVE, SuggestionList,
    UserPreferences,
};
use shared::failure::Failure;
use shared::redis::{Patience, Purpose, Value};
use shared::span::{Span, Spans};
use shared::telemetry::Counter;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::faulty::{Fate, Faulty};
use crate::stack::{HandClock, Stack, client, eventually, metered};

fn cache(stack: &Stack) -> Cache {
    Cache::new(stack.redis(), HandClock::new().clock(), false)
}

/// The value under a key, and whether it had to be loaded.
async fn look<K: CacheKey>(cache: &Cache, key: &K, value: K::Value) -> (Arc<K::Value>, bool) {
    let mut loaded = false;
    let load = async {
        loaded = true;
        Ok::<_, Infallible>(value)
    };
    let Ok(value) = cache.get_or_load(key, load).await;
    (value, loaded)
}

async fn is_cached<K: CacheKey<Value = serde_json::Value>>(cache: &Cache, key: &K) -> bool {
    !look(cache, key, json!("loaded")).await.1
}

fn slots(user_id: Uuid, month: u32) -> CalendarSlots {
    let day = |day| NaiveDate::from_ymd_opt(2026, month, day).unwrap();
    CalendarSlots { user_id, zone: "UTC", from: day(1), to: day(14) }
}

fn some_slots(count: i64) -> Spans {
    let start = DateTime::from_timestamp(1_763_900_000, 0).unwrap();
    (0..count)
        .map(|hour| start + TimeDelta::hours(hour))
        .map(|start| Span { start, end: start + TimeDelta::minutes(30) })
        .collect()
}

async fn keys(stack: &Stack) -> Vec<String> {
    let Value::List(keys) = stack.ask(["SCAN", "0", "COUNT", "1000"]).await else { panic!() };
    let Value::List(keys) = &keys[1] else { panic!() };
    let mut keys: Vec<_> = keys
        .iter()
        .map(|key| match key {
            Value::Text(key) => key.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_value_is_loaded_once_found_in_redis_by_others_and_in_memory_by_oneself() {
    let stack = Stack::start().await;
    let (here, there) = (cache(&stack), cache(&stack));
    let key = ContactList(Uuid::new_v4());
    for (cache, loads, commands) in
        [(&here, true, 2), (&here, false, 0), (&there, false, 1), (&there, false, 0)]
    {
        let work = metered(look(cache, &key, json!([{"name": "Ada"}])));
        let (((value, loaded), meter), bill) = stack.billed(work).await;
        assert_eq!((&*value, loaded), (&json!([{"name": "Ada"}]), loads));
        assert_eq!((meter.get(Counter::RedisCache), bill.billed), (commands, commands));
        let (hits, misses) = (meter.get(Counter::CacheHit), meter.get(Counter::CacheMiss));
        assert_eq!((hits, misses), if loads { (0, 1) } else { (1, 0) });
    }
}

#[tokio::test]
async fn what_the_application_reads_is_plain_json_under_its_key_for_its_time() {
    #[track_caller]
    fn check_time(left: &Value, seconds: i64) {
        let Value::Int(left) = left else { panic!("{left:?}") };
        assert!(*left > (seconds - 60) * 1000 && *left <= seconds * 1000, "{left}");
    }
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let id = Uuid::new_v4();
    let long = json!("a".repeat(5_000));
    look(&cache, &ContactList(id), long.clone()).await;
    look(&cache, &ContactProfile(id), json!({"a": 1})).await;
    look(&cache, &UserPreferences(id), json!({"a": 1})).await;
    look(&cache, &SuggestionList(id), json!([])).await;
    assert_eq!(stack.ask(["GET", &format!("contact:list:{id}")]).await, Value::Text(long.to_string()));
    check_time(&stack.ask(["PTTL", &format!("contact:list:{id}")]).await, 300);
    check_time(&stack.ask(["PTTL", &format!("contact:profile:{id}")]).await, 300);
    check_time(&stack.ask(["PTTL", &format!("user:prefs:{id}")]).await, 600);
    assert_eq!(stack.ask(["PTTL", &format!("suggestion:list:{id}")]).await, Value::Int(-1));
}

#[tokio::test]
async fn a_part_is_looked_up_with_one_command_and_stored_with_another() {
    let stack = Stack::start().await;
    let user_id = Uuid::new_v4();
    for (commands, loads) in [(2, true), (1, false)] {
        let there = cache(&stack);
        let key = slots(user_id, 1);
        let ((_, loaded), bill) = stack.billed(look(&there, &key, some_slots(1))).await;
        assert_eq!((bill.billed, loaded), (commands, loads));
        let ((_, loaded), bill) = stack.billed(look(&there, &key, some_slots(1))).await;
        assert_eq!((bill.billed, loaded), (0, false));
    }
}

#[tokio::test]
async fn what_only_we_read_is_compressed_above_a_kilobyte_and_read_back() {
    let stack = Stack::start().await;
    let user_id = Uuid::new_v4();
    for (month, count, compressed) in [(1, 1, false), (2, 300, true)] {
        let key = slots(user_id, month);
        look(&cache(&stack), &key, some_slots(count)).await;
        let name = format!("jobs:slots:{user_id}:{}:{}_{}", key.zone, key.from, key.to);
        let Value::Text(stored) = stack.ask(["GET", &name]).await else { panic!() };
        let stored = stored.strip_prefix("0|").unwrap();
        assert_eq!(stored.starts_with("lz4:"), compressed, "{stored}");
        let plain = serde_json::to_string(&some_slots(count)).unwrap();
        assert!(!compressed || stored.len() < plain.len() / 3, "{} of {}", stored.len(), plain.len());
        assert_eq!(look(&cache(&stack), &key, Spans::default()).await, (Arc::new(some_slots(count)), false));
        let Value::Int(left) = stack.ask(["PTTL", &name]).await else { panic!() };
        assert!(left > 3_500_000 && left <= 3_600_000, "{left}");
    }
}

#[tokio::test]
async fn rubbish_in_redis_is_a_miss_and_is_replaced() {
    let stack = Stack::start().await;
    let id = Uuid::new_v4();
    let name = format!("contact:list:{id}");
    for rubbish in ["", "{", "lz4:", "lz4:AAAA", "lz4://///w", "<html>"] {
        stack.ask(["SET", &name, rubbish]).await;
        assert!(!is_cached(&cache(&stack), &ContactList(id)).await, "{rubbish}");
        assert_eq!(stack.ask(["GET", &name]).await, Value::Text("\"loaded\"".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_misses_are_one_load() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let key = ContactList(Uuid::new_v4());
    let loads = Arc::new(AtomicUsize::new(0));
    let work = async {
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            callers.spawn(async move {
                let load = async {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(json!(1))
                };
                cache.get_or_load(&key, load).await
            });
        }
        callers.join_all().await
    };
    let (values, bill) = stack.billed(work).await;
    assert!(values.iter().all(|value| value.as_deref() == Ok(&json!(1))));
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(bill.billed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_that_fails_fails_alone_and_the_next_takes_over() {
    const FAILURES: usize = 3;
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let key = ContactList(Uuid::new_v4());
    let loads = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (cache, loads) = (cache.clone(), Arc::clone(&loads));
        callers.spawn(async move {
            let load = async {
                let earlier = loads.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if earlier < FAILURES { Err("no") } else { Ok(json!(1)) }
            };
            cache.get_or_load(&key, load).await
        });
    }
    let failed = callers.join_all().await.iter().filter(|result| result.is_err()).count();
    assert_eq!(failed, FAILURES);
    assert_eq!(loads.load(Ordering::SeqCst), FAILURES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_loader_is_cancelled_the_next_takes_over() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let key = ContactList(Uuid::new_v4());
    let loading = Arc::new(Notify::new());
    let first = {
        let (cache, loading) = (cache.clone(), Arc::clone(&loading));
        tokio::spawn(async move {
            let load = async {
                loading.notify_one();
                std::future::pending::<Result<_, Infallible>>().await
            };
            cache.get_or_load(&key, load).await
        })
    };
    loading.notified().await;
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move { look(&cache, &key, json!(n)).await })
        })
        .collect();
    first.abort();
    let mut loads = 0;
    for waiter in waiting {
        loads += usize::from(waiter.await.unwrap().1);
    }
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn a_change_drops_one_value_from_both_tiers_with_one_command() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let id = Uuid::new_v4();
    macro_rules! check {
        ($key:ident, $change:ident) => {
            for expected in [false, true] {
                assert_eq!(is_cached(&cache, &$key(id)).await, expected, stringify!($key));
            }
            let ((dropped, meter), bill) = stack.billed(metered($change(&cache, id))).await;
            dropped.unwrap();
            assert_eq!((meter.get(Counter::RedisCache), bill.billed), (1, 1), stringify!($change));
            assert_eq!(keys(&stack).await, Vec::<String>::new(), stringify!($change));
            assert!(!is_cached(&cache, &$key(id)).await, stringify!($change));
            $change(&cache, id).await.unwrap();
        };
    }
    let profile_changed = async |cache: &Cache, id| cache.contacts_changed(Uuid::new_v4(), &[id]).await;
    let list_changed = async |cache: &Cache, id| cache.contacts_changed(id, &[]).await;
    let suggestions_changed = async |cache: &Cache, id| cache.suggestions_changed(id).await;
    let preferences_changed = async |cache: &Cache, id| cache.preferences_changed(id).await;
    check!(ContactList, list_changed);
    check!(ContactProfile, profile_changed);
    check!(SuggestionList, suggestions_changed);
    check!(UserPreferences, preferences_changed);
}

#[tokio::test]
async fn many_profiles_are_dropped_together_with_the_list() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let ids: Vec<_> = (0..2_001).map(|_| Uuid::new_v4()).collect();
    assert!(!is_cached(&cache, &ContactProfile(ids[1_000])).await);
    let user_id = Uuid::new_v4();
    assert!(!is_cached(&cache, &ContactList(user_id)).await);
    let (dropped, bill) = stack.billed(cache.contacts_changed(user_id, &ids)).await;
    dropped.unwrap();
    assert_eq!(bill.billed, 2);
    assert!(!is_cached(&cache, &ContactProfile(ids[1_000])).await);
    assert!(!is_cached(&cache, &ContactList(user_id)).await);
}

#[tokio::test]
async fn a_value_loaded_before_a_change_is_cached_nowhere() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let user_id = Uuid::new_v4();
    let load = async {
        cache.contacts_changed(user_id, &[]).await.unwrap();
        Ok::<_, Infallible>(json!("old"))
    };
    let Ok(value) = cache.get_or_load(&ContactList(user_id), load).await;
    assert_eq!(*value, json!("old"));
    assert_eq!(keys(&stack).await, Vec::<String>::new());
    assert!(!is_cached(&cache, &ContactList(user_id)).await);
}

#[tokio::test]
async fn a_load_that_ends_while_redis_still_works_on_the_change_is_not_written() {
    // GET finds nothing, DEL is never answered.
    let server = Faulty::start([Fate::ok(r#"{"result":null}"#), Fate::Silence]).await;
    let cache = Cache::new(client(&server.url, Patience::default()), HandClock::new().clock(), false);
    let user_id = Uuid::new_v4();
    let seen = async |requests| eventually(async || (server.requests() == requests).then_some(())).await;
    let load = async {
        seen(2).await;
        Ok::<_, Infallible>(json!("old"))
    };
    let key = ContactList(user_id);
    let change = async {
        seen(1).await;
        cache.contacts_changed(user_id, &[]).await.unwrap_err();
    };
    let (Ok(_old), ()) = tokio::join!(cache.get_or_load(&key, load), change);
    assert_eq!(server.requests(), 2, "no SET");
}

#[tokio::test]
async fn all_slots_of_a_user_fall_with_one_command_and_nobody_elses() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let (user, other) = (Uuid::new_v4(), Uuid::new_v4());
    let all = [slots(user, 1), slots(user, 2), slots(other, 1)];
    for round in 0..2 {
        for key in &all {
            look(&cache, key, some_slots(1)).await;
            assert!(!look(&cache, key, Spans::default()).await.1);
        }
        let work = async {
            if round == 0 { cache.events_changed(user).await } else { cache.availability_changed(user).await }
        };
        let (dropped, bill) = stack.billed(work).await;
        dropped.unwrap();
        assert_eq!(bill.billed, 1);
        for (key, dropped) in all.iter().zip([true, true, false]) {
            // Another process, which has nothing in its memory, sees the same.
            let there = Cache::new(stack.redis(), HandClock::new().clock(), false);
            assert_eq!(look(&there, key, some_slots(2)).await.1, dropped, "{key:?}");
            assert!(!look(&cache, key, Spans::default()).await.1, "{key:?}");
        }
    }
}

#[tokio::test]
async fn slots_that_another_process_loaded_before_a_change_are_not_found_after_it() {
    let stack = Stack::start().await;
    let (here, there) = (cache(&stack), cache(&stack));
    let user_id = Uuid::new_v4();
    let key = slots(user_id, 1);
    let load = async {
        here.events_changed(user_id).await.unwrap();
        Ok::<_, Infallible>(some_slots(1))
    };
    let Ok(_old) = there.get_or_load(&key, load).await;
    assert!(look(&here, &key, some_slots(2)).await.1);
}

#[tokio::test]
async fn another_process_serves_its_copy_no_longer_than_promised() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let (here, there) = (cache(&stack), Cache::new(stack.redis(), hand.clock(), false));
    let user_id = Uuid::new_v4();
    let key = SuggestionList(user_id);
    assert!(!is_cached(&there, &key).await);
    here.suggestions_changed(user_id).await.unwrap();
    hand.advance(i64::try_from(LOCAL_TIME_TO_LIVE.as_millis()).unwrap() - 1);
    assert!(is_cached(&there, &key).await);
    hand.advance(1);
    assert!(!is_cached(&there, &key).await);
}

#[tokio::test]
async fn the_applications_slots_are_searched_for_only_when_asked_and_only_so_far() {
    let stack = Stack::start().await;
    let (user, other) = (Uuid::new_v4(), Uuid::new_v4());
    let legacy = [format!("calendar:slots:{user}:a"), format!("calendar:slots:{user}:b")];
    let others = format!("calendar:slots:{other}:a");
    for key in [&legacy[0], &legacy[1], &others] {
        stack.ask(["SET", key, "[]"]).await;
    }
    cache(&stack).events_changed(user).await.unwrap();
    assert_eq!(stack.ask(["EXISTS", &legacy[0], &legacy[1], &others]).await, Value::Int(3));

    let cache = Cache::new(stack.redis(), HandClock::new().clock(), true);
    let ((dropped, meter), bill) = stack.billed(metered(cache.events_changed(user))).await;
    dropped.unwrap();
    assert_eq!((meter.get(Counter::RedisCache), bill.billed), (3, 3), "SET, SCAN, DEL: {bill:?}");
    assert_eq!(stack.ask(["EXISTS", &legacy[0], &legacy[1]]).await, Value::Int(0));
    assert_eq!(stack.ask(["EXISTS", &others]).await, Value::Int(1));

    stack.ask_behind_the_gateway("DEBUG POPULATE 200000").await;
    let (dropped, bill) = stack.billed(cache.events_changed(user)).await;
    dropped.unwrap();
    assert_eq!(bill.commands["SCAN"], 50);
}

#[tokio::test]
async fn without_redis_everything_is_a_miss_and_each_change_fails() {
    let mut stack = Stack::start().await;
    stack.stop();
    let redis = stack.redis();
    eventually(async || redis.run(Purpose::Cache, shared::redis::Command::new("PING")).await.err()).await;
    let cache = cache(&stack);
    let id = Uuid::new_v4();
    assert!(!is_cached(&cache, &ContactList(id)).await);
    assert!(is_cached(&cache, &ContactList(id)).await, "this process remembers");
    let failure: Failure = cache.contacts_changed(id, &[]).await.unwrap_err().into();
    assert!(matches!(failure, Failure::Unavailable { .. }), "{failure:?}");
    assert!(!is_cached(&cache, &ContactList(id)).await, "and forgets");
    for changed in [cache.events_changed(id).await, cache.suggestions_changed(id).await] {
        changed.unwrap_err();
    }
    assert!(look(&cache, &slots(id, 1), Spans::default()).await.1);
}
