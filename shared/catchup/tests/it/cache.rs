//! What a change drops, over a real Redis behind the gateway.

use catchup::cache::{Cache, CalendarSlots};
use catchup::span::Spans;
use chrono::NaiveDate;
use shared::config::Config;
use shared::job::Setup;
use tests::Upstash;
use upstash_gateway::Bill;
use uuid::Uuid;

struct Stack(Upstash);

impl Stack {
    async fn start() -> Self {
        Self(Upstash::start().await)
    }

    /// The cache of a process.
    fn cache(&self, legacy: &str) -> Cache {
        let mut environment = self.0.environment().to_vec();
        environment.push(("LEGACY_SLOT_CACHE", legacy.to_owned()));
        Cache::new(&mut Setup::new(Config::from_pairs(environment))).unwrap()
    }

    async fn has(&self, key: &str) -> bool {
        self.0.ask(&["EXISTS", key]).await
    }

    /// What was billed while `work` ran.
    async fn billed(&self, work: impl Future<Output = Result<(), shared::cache::Error>>) -> Bill {
        let (result, bill) = self.0.billed(work).await;
        result.unwrap();
        bill
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_drops_the_applications_lists_by_their_names() {
    let stack = Stack::start().await;
    let (user, contact, other) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let keys = |user: Uuid, contact: Uuid| {
        [
            format!("contact:list:{user}"),
            format!("contact:profile:{contact}"),
            format!("suggestion:list:{user}"),
        ]
    };
    for key in keys(user, contact).iter().chain(&keys(other, other)) {
        let () = stack.0.ask(&["SET", key, "[]"]).await;
    }
    let cache = stack.cache("false");
    assert_eq!(stack.billed(cache.contacts_changed(user, &[contact])).await.billed, 1);
    assert_eq!(stack.billed(cache.suggestions_changed(user)).await.billed, 1);
    for key in keys(user, contact) {
        assert!(!stack.has(&key).await, "{key}");
    }
    for key in keys(other, other) {
        assert!(stack.has(&key).await, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_event_drops_all_slots_of_its_user() {
    let stack = Stack::start().await;
    let (user, other) = (Uuid::new_v4(), Uuid::new_v4());
    let day = |day| NaiveDate::from_ymd_opt(2026, 1, day).unwrap();
    let key = |user_id, first| CalendarSlots { user_id, zone: "UTC", from: day(first), to: day(14) };
    let cache = stack.cache("false");
    let is_loaded = async |key: CalendarSlots| {
        let mut loaded = false;
        let load = async {
            loaded = true;
            Ok::<_, std::convert::Infallible>(Spans::default())
        };
        let Ok(_slots) = cache.slots(&key, load).await;
        loaded
    };
    let keys = [key(user, 1), key(user, 2), key(other, 1)];
    for key in keys {
        assert!(is_loaded(key).await && !is_loaded(key).await, "{key:?}");
    }
    assert_eq!(stack.billed(cache.events_changed(user)).await.billed, 1);
    for (key, dropped) in keys.into_iter().zip([true, true, false]) {
        assert_eq!(is_loaded(key).await, dropped, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_kept_for_an_hour_and_what_tells_the_dropped_ones_apart_for_longer() {
    let stack = Stack::start().await;
    let user_id = Uuid::new_v4();
    let day = |day| NaiveDate::from_ymd_opt(2026, 1, day).unwrap();
    let key = CalendarSlots { user_id, zone: "Europe/Berlin", from: day(1), to: day(14) };
    let slots = format!("jobs:slots:{user_id}:Europe/Berlin:2026-01-01_2026-01-14");
    let generation = format!("jobs:slots:{user_id}:generation");
    let check_time = async |key: &str, seconds: i64| {
        let left: i64 = stack.0.ask(&["PTTL", key]).await;
        assert!((seconds * 1_000 - 100_000..=seconds * 1_000).contains(&left), "{key}: {left} ms");
    };
    let load = async { Ok::<_, std::convert::Infallible>(Spans::default()) };
    let Ok(_slots) = stack.cache("false").slots(&key, load).await;
    check_time(&slots, 3_600).await;
    assert!(!stack.has(&generation).await);
    stack.cache("false").events_changed(user_id).await.unwrap();
    check_time(&generation, 7_200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_applications_slots_are_searched_for_only_when_asked_and_only_so_far() {
    let stack = Stack::start().await;
    let (user, other) = (Uuid::new_v4(), Uuid::new_v4());
    let legacy = [format!("calendar:slots:{user}:a"), format!("calendar:slots:{user}:b")];
    let others = format!("calendar:slots:{other}:a");
    for key in [&legacy[0], &legacy[1], &others] {
        let () = stack.0.ask(&["SET", key, "[]"]).await;
    }
    stack.cache("false").events_changed(user).await.unwrap();
    assert!(stack.has(&legacy[0]).await && stack.has(&legacy[1]).await);

    let cache = stack.cache("true");
    let bill = stack.billed(cache.events_changed(user)).await;
    assert_eq!(bill.billed, 3, "SET, SCAN, DEL: {bill:?}");
    assert!(!stack.has(&legacy[0]).await && !stack.has(&legacy[1]).await);
    assert!(stack.has(&others).await);

    let many = "for n = 1, 10000 do redis.call('SET', ARGV[1] .. n, '') end";
    for part in 0..20 {
        let () = stack.0.ask(&["EVAL", many, "0", &format!("key:{part}:")]).await;
    }
    let bill = stack.billed(cache.events_changed(user)).await;
    assert_eq!(bill.commands["SCAN"], 50);
}
