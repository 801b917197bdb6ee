//! Keys that vanish before they expire.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::Gateway;

async fn evict(gateway: &Gateway, pattern: &str, share: f64) -> usize {
    gateway.unkindness.evict(pattern, share).await.expect("Redis answers")
}

#[tokio::test]
async fn a_share_of_the_keys_of_a_pattern_is_evicted_on_demand() {
    const KEYS: usize = 200;
    let gateway = Gateway::start().await;
    let keys = (0..KEYS).map(|n| json!(["SET", format!("lease:{n}"), 1])).chain([json!(["SET", "other", 1])]);
    gateway.post("/pipeline", &keys.collect()).await;
    assert_eq!(evict(&gateway, "*", 0.0).await, 0);
    // Outside these bounds only once in 10^12 runs.
    let half = evict(&gateway, "lease:*", 0.5).await;
    assert!((50..=150).contains(&half), "{half}");
    gateway.expect(&[(json!(["DBSIZE"]), json!(KEYS + 1 - half))]).await;
    assert_eq!(evict(&gateway, "lease:*", 1.0).await, KEYS - half);
    gateway.expect(&[(json!(["KEYS", "*"]), json!(["other"]))]).await;
    assert_eq!(gateway.billing.bill().commands.get("DEL"), None, "evictions are not billed");
}

#[tokio::test]
async fn commands_evict_keys_with_the_probability_that_was_set() {
    let gateway = Gateway::start().await;
    gateway.post("/pipeline", &json!([["SET", "a", 1], ["SET", "b", 1], ["SET", "c", 1]])).await;
    gateway.unkindness.set_eviction(1.0);
    gateway.expect(&[(json!(["DBSIZE"]), json!(2))]).await;
    let emptied = gateway.post("/pipeline", &json!([["PING"], ["DBSIZE"]])).await;
    assert_eq!(emptied.json()[1], json!({ "result": 0 }));
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK")), (json!(["GET", "a"]), Value::Null)]).await;
    gateway.unkindness.set_eviction(0.0);
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK")), (json!(["GET", "a"]), json!("1"))]).await;
}

#[tokio::test]
async fn a_replica_that_lags_still_has_what_was_evicted() {
    let gateway = Gateway::start().await;
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK"))]).await;
    gateway.unkindness.set_replica_lag(Duration::from_hours(1));
    assert_eq!(evict(&gateway, "a", 1.0).await, 1);
    gateway.expect(&[(json!(["GET", "a"]), json!("1")), (json!(["SET", "a", 2, "NX"]), json!("OK"))]).await;
}
