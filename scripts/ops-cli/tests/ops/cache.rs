//! What the application has cached of a user is shown, and dropped.

use serde_json::json;

use crate::operator::{System, ops_with, user};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_of_a_user_is_shown_and_dropped_and_that_of_others_stays() {
    let system = System::start().await;
    let (own, contact, other) = (user(1).to_string(), user(7).to_string(), user(2).to_string());
    let set = async |key: String, life: &[&str]| {
        let command = [&["SET", key.as_str(), "Ada's list"], life].concat();
        system.stack.redis(&command).await;
    };
    set(format!("suggestion:list:{own}"), &[]).await;
    set(format!("contact:list:{own}"), &["EX", "300"]).await;
    set(format!("contact:profile:{contact}"), &["EX", "300"]).await;
    set(format!("suggestion:list:{other}"), &[]).await;

    let shown = system.succeeds(&["cache", "show", &own, "--contact", &contact]);
    let of = |key: &str| {
        let line = shown.out.lines().find(|line| line.starts_with(key));
        line.unwrap_or_else(|| panic!("{key} in {shown:?}")).to_owned()
    };
    assert!(of(&format!("suggestion:list:{own}")).ends_with("  until it is dropped"), "{shown:?}");
    assert!(of(&format!("user:prefs:{own}")).ends_with("  no"), "{shown:?}");
    assert!(of(&format!("contact:list:{own}")).contains("  for "), "{shown:?}");
    let listed = system.succeeds(&["cache", "show", &own, "--json"]).json();
    let expires_in = |place: usize| listed["cached"][place]["expiresInSeconds"].as_u64();
    assert!(expires_in(0).is_some_and(|seconds| (1..=300).contains(&seconds)), "{listed}");
    assert_eq!(expires_in(1), None, "{listed}");
    assert!(!shown.all().contains("Ada") && !shown.out.contains(&other), "no value, and nothing of others");

    let dropped =
        system.succeeds(&["cache", "drop", &own, "--contact", &contact, "--why", "shows who is gone"]);
    assert!(dropped.err.ends_with("3 values dropped, and the free time of the calendars\n"), "{dropped:?}");
    let shown = system.succeeds(&["cache", "show", &own, "--contact", &contact, "--json"]).json();
    let cached = shown["cached"].as_array().unwrap();
    assert!(cached.len() == 4 && cached.iter().all(|it| it["isCached"] == json!(false)), "{shown}");
    let of_other = system.succeeds(&["cache", "show", &other, "--json"]).json();
    let is_cached = |it: &&serde_json::Value| it["isCached"] == json!(true);
    assert_eq!(of_other["cached"].as_array().unwrap().iter().filter(is_cached).count(), 1, "{of_other}");
    // What a function cached of the free time is of a generation that no one accepts any more.
    let generation = system.stack.redis(&["EXISTS", &format!("jobs:slots:{own}:generation")]).await;
    assert_eq!(format!("{generation:?}"), "int(1)");

    let actions = system.succeeds(&["actions", "--json"]).json();
    let action = &actions["actions"][0];
    let recorded = [&action["action"], &action["count"], &action["changed"], &action["why"]];
    assert_eq!(
        recorded,
        [&json!("drop_cache"), &json!(3), &json!(3), &json!("shows who is gone")],
        "{actions}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_or_without_a_record_nothing_is_dropped() {
    let system = System::start().await;
    let own = user(1).to_string();
    let without = |variable, url: &str| {
        let mut environment = system.environment();
        environment.insert(variable, url.to_owned());
        environment
    };
    let no_redis = without("UPSTASH_REDIS_REST_URL", "http://127.0.0.1:1");
    for verb in ["show", "drop"] {
        let said = ops_with(&no_redis, &["cache", verb, &own]);
        assert!(said.code == 1 && said.err.contains("Redis does not say what is cached"), "{said:?}");
        assert_eq!(said.out, "", "{said:?}");
    }
    assert_eq!(system.succeeds(&["actions"]).all(), "no actions of operators\n");

    let key = format!("suggestion:list:{own}");
    system.stack.redis(&["SET", &key, "[]"]).await;
    let no_postgres = without("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none");
    let said = ops_with(&no_postgres, &["cache", "drop", &own]);
    assert!(said.code == 1 && said.err.contains("nothing is changed"), "{said:?}");
    assert!(!system.succeeds(&["cache", "show", &own]).out.contains(&format!("{key}  no")));
}
