//! `shared::cache`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use shared::cache::{Cache, CacheKey, LOCAL_TIME_TO_LIVE};
use shared::failure::Failure;
use shared::redis::{Purpose, Timeouts, Value};
use shared::telemetry::Counter;
use tests::{HandClock, until_some};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::faulty::{Faulty, Reply};
use super::stack::{Stack, client, metered};

fn cache(stack: &Stack) -> Cache {
    Cache::new(stack.redis(), HandClock::new().clock())
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

/// A value of its own.
#[derive(Debug, Clone, Copy)]
struct Profile(Uuid);

impl CacheKey for Profile {
    type Value = serde_json::Value;
    const TIME_TO_LIVE: Duration = Duration::from_mins(5);

    fn scope(&self) -> String {
        format!("profile:{}", self.0)
    }
}

async fn profiles_changed(cache: &Cache, ids: &[Uuid]) -> Result<(), shared::cache::Error> {
    let scopes: Vec<_> = ids.iter().map(|id| Profile(*id).scope()).collect();
    cache.drop_scopes(&scopes).await
}

/// One of a user's values that are dropped together.
#[derive(Debug, Clone, Copy)]
struct Slots {
    user_id: Uuid,
    month: u32,
}

impl CacheKey for Slots {
    type Value = Vec<u64>;
    const TIME_TO_LIVE: Duration = Duration::from_hours(1);

    fn scope(&self) -> String {
        format!("slots:{}", self.user_id)
    }

    fn part(&self) -> Option<String> {
        Some(self.month.to_string())
    }
}

async fn slots_changed(cache: &Cache, user_id: Uuid) -> Result<(), shared::cache::Error> {
    cache.drop_parts::<Slots>(&format!("slots:{user_id}")).await
}

fn slots(user_id: Uuid, month: u32) -> Slots {
    Slots { user_id, month }
}

fn some_slots(count: u64) -> Vec<u64> {
    (0..count).map(|hour| 1_763_900_000 + hour % 7).collect()
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
    let key = Profile(Uuid::new_v4());
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
async fn a_value_is_kept_for_its_time() {
    let stack = Stack::start().await;
    let id = Uuid::new_v4();
    look(&cache(&stack), &Profile(id), json!({"a": 1})).await;
    let Value::Int(left) = stack.ask(["PTTL", &format!("profile:{id}")]).await else { panic!() };
    assert!(left > 240_000 && left <= 300_000, "{left}");
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
async fn what_is_long_is_compressed_and_read_back() {
    let stack = Stack::start().await;
    let user_id = Uuid::new_v4();
    for (month, count, compressed) in [(1, 1, false), (2, 300, true)] {
        let key = slots(user_id, month);
        look(&cache(&stack), &key, some_slots(count)).await;
        let name = format!("slots:{user_id}:{month}");
        let Value::Text(stored) = stack.ask(["GET", &name]).await else { panic!() };
        let stored = stored.strip_prefix("0|").unwrap();
        assert_eq!(stored.starts_with("lz4:"), compressed, "{stored}");
        let plain = serde_json::to_string(&some_slots(count)).unwrap();
        assert!(!compressed || stored.len() < plain.len() / 3, "{} of {}", stored.len(), plain.len());
        assert_eq!(look(&cache(&stack), &key, Vec::new()).await, (Arc::new(some_slots(count)), false));
        let Value::Int(left) = stack.ask(["PTTL", &name]).await else { panic!() };
        assert!(left > 3_500_000 && left <= 3_600_000, "{left}");
    }
}

#[tokio::test]
async fn rubbish_in_redis_is_a_miss_and_is_replaced() {
    let stack = Stack::start().await;
    let id = Uuid::new_v4();
    let name = format!("profile:{id}");
    for rubbish in ["", "{", "lz4:", "lz4:AAAA", "lz4://///w", "<html>"] {
        stack.ask(["SET", &name, rubbish]).await;
        assert!(!is_cached(&cache(&stack), &Profile(id)).await, "{rubbish}");
        assert_eq!(stack.ask(["GET", &name]).await, Value::Text("\"loaded\"".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_misses_are_one_load() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let key = Profile(Uuid::new_v4());
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
    let key = Profile(Uuid::new_v4());
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
    let key = Profile(Uuid::new_v4());
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
    for expected in [false, true] {
        assert_eq!(is_cached(&cache, &Profile(id)).await, expected);
    }
    let ((dropped, meter), bill) = stack.billed(metered(profiles_changed(&cache, &[id]))).await;
    dropped.unwrap();
    assert_eq!((meter.get(Counter::RedisCache), bill.billed), (1, 1));
    assert_eq!(keys(&stack).await, Vec::<String>::new());
    assert!(!is_cached(&cache, &Profile(id)).await);
}

#[tokio::test]
async fn many_values_are_dropped_together() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let ids: Vec<_> = (0..2_001).map(|_| Uuid::new_v4()).collect();
    assert!(!is_cached(&cache, &Profile(ids[1_000])).await);
    let (dropped, bill) = stack.billed(profiles_changed(&cache, &ids)).await;
    dropped.unwrap();
    assert_eq!(bill.billed, 2);
    assert!(!is_cached(&cache, &Profile(ids[1_000])).await);
}

#[tokio::test]
async fn a_value_loaded_before_a_change_is_cached_nowhere() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let user_id = Uuid::new_v4();
    let load = async {
        profiles_changed(&cache, &[user_id]).await.unwrap();
        Ok::<_, Infallible>(json!("old"))
    };
    let Ok(value) = cache.get_or_load(&Profile(user_id), load).await;
    assert_eq!(*value, json!("old"));
    assert_eq!(keys(&stack).await, Vec::<String>::new());
    assert!(!is_cached(&cache, &Profile(user_id)).await);
}

#[tokio::test]
async fn a_load_that_ends_while_redis_still_works_on_the_change_is_not_written() {
    // GET finds nothing, DEL is never answered.
    let server = Faulty::start([Reply::ok(r#"{"result":null}"#), Reply::Silence]);
    let cache = Cache::new(client(&server.url, Timeouts::default()), HandClock::new().clock());
    let user_id = Uuid::new_v4();
    let seen = async |requests| until_some(async || (server.requests() == requests).then_some(())).await;
    let load = async {
        seen(2).await;
        Ok::<_, Infallible>(json!("old"))
    };
    let key = Profile(user_id);
    let change = async {
        seen(1).await;
        profiles_changed(&cache, &[user_id]).await.unwrap_err();
    };
    let (Ok(_old), ()) = tokio::join!(cache.get_or_load(&key, load), change);
    assert_eq!(server.requests(), 2, "no SET");
}

#[tokio::test]
async fn all_slots_of_one_user_are_dropped_with_one_command_and_no_other_users() {
    let stack = Stack::start().await;
    let cache = cache(&stack);
    let (user, other) = (Uuid::new_v4(), Uuid::new_v4());
    let all = [slots(user, 1), slots(user, 2), slots(other, 1)];
    for _ in 0..2 {
        for key in &all {
            look(&cache, key, some_slots(1)).await;
            assert!(!look(&cache, key, Vec::new()).await.1);
        }
        let (dropped, bill) = stack.billed(slots_changed(&cache, user)).await;
        dropped.unwrap();
        assert_eq!(bill.billed, 1);
        for (key, dropped) in all.iter().zip([true, true, false]) {
            // Another process, which has nothing in its memory, sees the same.
            let there = Cache::new(stack.redis(), HandClock::new().clock());
            assert_eq!(look(&there, key, some_slots(2)).await.1, dropped, "{key:?}");
            assert!(!look(&cache, key, Vec::new()).await.1, "{key:?}");
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
        slots_changed(&here, user_id).await.unwrap();
        Ok::<_, Infallible>(some_slots(1))
    };
    let Ok(_old) = there.get_or_load(&key, load).await;
    assert!(look(&here, &key, some_slots(2)).await.1);
}

#[tokio::test]
async fn another_process_serves_its_copy_no_longer_than_promised() {
    let stack = Stack::start().await;
    let hand = HandClock::new();
    let (here, there) = (cache(&stack), Cache::new(stack.redis(), hand.clock()));
    let user_id = Uuid::new_v4();
    let key = Profile(user_id);
    assert!(!is_cached(&there, &key).await);
    profiles_changed(&here, &[user_id]).await.unwrap();
    hand.advance(i64::try_from(LOCAL_TIME_TO_LIVE.as_millis()).unwrap() - 1);
    assert!(is_cached(&there, &key).await);
    hand.advance(1);
    assert!(!is_cached(&there, &key).await);
}

#[tokio::test]
async fn without_redis_everything_is_a_miss_and_each_change_fails() {
    let mut stack = Stack::start().await;
    stack.stop();
    let redis = stack.redis();
    until_some(async || redis.run(Purpose::Cache, shared::redis::Command::new("PING")).await.err()).await;
    let cache = cache(&stack);
    let id = Uuid::new_v4();
    assert!(!is_cached(&cache, &Profile(id)).await);
    assert!(is_cached(&cache, &Profile(id)).await, "this process remembers");
    let failure: Failure = profiles_changed(&cache, &[id]).await.unwrap_err().into();
    assert!(matches!(failure, Failure::Unavailable { .. }), "{failure:?}");
    assert!(!is_cached(&cache, &Profile(id)).await, "and forgets");
    slots_changed(&cache, id).await.unwrap_err();
    assert!(look(&cache, &slots(id, 1), Vec::new()).await.1);
}
