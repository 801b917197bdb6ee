//! Reads from a replica that lags behind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Answer;
use crate::kit::Gateway;

const HOUR: Duration = Duration::from_hours(1);

/// A request that echoes the sync token of an answer.
async fn echo(gateway: &Gateway, answer: &Answer, target: &str, body: &Value) -> Answer {
    let token = answer.header("upstash-sync-token").expect("every answer has a sync token");
    gateway.request("POST", target, &[("upstash-sync-token", token)], body.to_string().as_bytes()).await
}

#[tokio::test]
async fn a_read_without_the_token_of_a_newer_write_sees_the_older_state() {
    let gateway = Gateway::start().await;
    gateway.expect(&[(json!(["SET", "a", "old"]), json!("OK"))]).await;
    gateway.unkindness.set_replica_lag(HOUR);
    let get = json!(["GET", "a"]);
    let written = gateway.post("/", &json!(["SET", "a", "new"])).await;
    gateway.expect(&[(get.clone(), json!("old"))]).await;
    assert_eq!(echo(&gateway, &written, "/", &get).await.json(), json!({ "result": "new" }));

    let last = gateway.post("/", &json!(["SET", "a", "newest"])).await;
    assert_eq!(echo(&gateway, &written, "/", &get).await.json(), json!({ "result": "new" }));
    assert_eq!(echo(&gateway, &last, "/", &get).await.json(), json!({ "result": "newest" }));
    gateway.unkindness.set_replica_lag(Duration::ZERO);
    gateway.expect(&[(get, json!("newest"))]).await;
}

#[tokio::test]
async fn the_token_of_any_answer_guarantees_a_read_at_least_as_new() {
    let gateway = Gateway::start().await;
    gateway.unkindness.set_replica_lag(HOUR);
    let get = json!(["GET", "n"]);
    let mut seen = gateway.post("/", &json!(["INCR", "n"])).await;
    for n in 1..5 {
        gateway.expect(&[(json!(["INCR", "n"]), json!(n + 1)), (get.clone(), Value::Null)]).await;
        // Each read carries the token of the one before, the first that of the first write.
        seen = echo(&gateway, &seen, "/", &get).await;
        assert_eq!(seen.json(), json!({ "result": "1" }));
    }
    // A read that ran together with a write saw the newest state.
    let newest = gateway.post("/pipeline", &json!([["GET", "n"], ["SET", "other", 1]])).await;
    assert_eq!(newest.json()[0], json!({ "result": "5" }));
    assert_eq!(echo(&gateway, &newest, "/", &get).await.json(), json!({ "result": "5" }));
}

#[tokio::test]
async fn no_client_that_echoes_its_token_reads_backwards_while_others_write() {
    let gateway = Gateway::start().await;
    gateway.unkindness.set_replica_lag(HOUR);
    let write = async || {
        for _ in 0..50 {
            gateway.run(json!(["INCR", "n"])).await;
        }
    };
    let read = async || {
        for _ in 0..50 {
            let newest = gateway.post("/multi-exec", &json!([["GET", "n"]])).await;
            let lagging = echo(&gateway, &newest, "/pipeline", &json!([["GET", "n"]])).await;
            // Of all the states since, the oldest that the token allows.
            assert_eq!(lagging.json(), newest.json());
        }
    };
    futures_util::join!(write(), write(), read(), read());
}

#[tokio::test]
async fn every_command_that_reads_sees_one_older_state_with_keys_of_all_types() {
    let gateway = Gateway::start().await;
    let setup = json!([
        ["SET", "text", "1", "EXAT", 4_102_444_800_u32],
        ["ZADD", "sorted", 1, "one"],
        ["RPUSH", "list", "a"],
        ["HSET", "hash", "field", "a"],
        ["SET", "gone", 1],
        ["SET", "untouched", 1],
    ]);
    gateway.post("/pipeline", &setup).await;
    gateway.unkindness.set_replica_lag(HOUR);
    let changes = json!([
        ["PERSIST", "text"],
        ["APPEND", "text", "2"],
        ["ZADD", "sorted", 2, "two"],
        ["EVAL", "return redis.call('RPUSH', KEYS[1], 'b')", 1, "list"],
        ["HSET", "hash", "field", "b"],
        ["DEL", "gone"],
        ["SET", "created", 1],
    ]);
    let last = gateway.post("/pipeline", &changes).await;
    let reads = json!([
        ["MGET", "text", "gone", "created", "untouched"],
        ["EXPIRETIME", "text"],
        ["EXISTS", "gone", "created"],
        ["ZRANGE", "sorted", 0, -1],
        ["LRANGE", "list", 0, -1],
        ["HGET", "hash", "field"],
        ["DBSIZE"],
        ["ZUNION", 1, "sorted"],
    ]);
    let results = |answer: &Answer| -> Vec<Value> {
        let items = answer.json();
        items.as_array().expect("items").iter().map(|item| item["result"].clone()).collect()
    };
    let old = [
        json!(["1", "1", null, "1"]),
        json!(4_102_444_800_u32),
        json!(1),
        json!(["one"]),
        json!(["a"]),
        json!("a"),
        json!(6),
        json!(["one"]),
    ];
    let new = [
        json!(["12", null, "1", "1"]),
        json!(-1),
        json!(1),
        json!(["one", "two"]),
        json!(["a", "b"]),
        json!("b"),
        json!(6),
        json!(["one", "two"]),
    ];
    assert_eq!(results(&gateway.post("/pipeline", &reads).await), old);
    assert_eq!(results(&echo(&gateway, &last, "/pipeline", &reads).await), new);
    // Reading the past left no trace in the present.
    assert_eq!(results(&gateway.post("/multi-exec", &reads).await), new);
}

#[tokio::test]
async fn writes_scripts_and_transactions_act_on_the_newest_state() {
    let gateway = Gateway::start().await;
    gateway.unkindness.set_replica_lag(HOUR);
    gateway
        .expect(&[
            (json!(["SET", "claim", "mine", "NX"]), json!("OK")),
            (json!(["GET", "claim"]), Value::Null),
            (json!(["SET", "claim", "theirs", "NX"]), Value::Null),
            (json!(["SET", "claim", "done", "IFEQ", "mine"]), json!("OK")),
            (json!(["EVAL_RO", "return redis.call('GET', KEYS[1])", 1, "claim"]), json!("done")),
            (json!(["DIGEST", "claim"]), Value::Null),
        ])
        .await;
    let transaction = gateway.post("/multi-exec", &json!([["GET", "claim"]])).await;
    assert_eq!(transaction.json(), json!([{ "result": "done" }]));
}

#[tokio::test]
async fn a_replica_catches_up_after_the_lag() {
    let gateway = Gateway::start().await;
    gateway.unkindness.set_replica_lag(Duration::from_millis(100));
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK"))]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while gateway.run(json!(["GET", "a"])).await != json!({ "result": "1" }) {
        assert!(tokio::time::Instant::now() < deadline, "the replica did not catch up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn error_in_a_pipeline_of_reads_affects_only_its_own_result() {
    let gateway = Gateway::start().await;
    gateway.unkindness.set_replica_lag(HOUR);
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK"))]).await;
    let answer = gateway.post("/pipeline", &json!([["GET", "a"], ["GET"], ["HGET", "a", "b"]])).await;
    let items = answer.json();
    assert_eq!(items[1], json!({ "error": "ERR wrong number of arguments for 'get' command" }));
    assert!(items[0]["result"] == "1" && items[2]["error"].is_string(), "{items}");
}
