//! Writes that are lost although they were acknowledged.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{Gateway, READ_ONLY_TOKEN};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_failover_undoes_the_writes_that_are_young_enough() {
    let gateway = Gateway::start().await;
    gateway
        .post(
            "/pipeline",
            &json!([["SET", "text", "old", "EXAT", 4_102_444_800_u32], ["RPUSH", "list", "a"]]),
        )
        .await;
    gateway.unkindness.set_undo_window(HOUR);
    let changes = json!([
        ["SET", "text", "new"],
        ["RPUSH", "list", "b"],
        ["SET", "created", 1],
        ["DEL", "created"],
        ["SET", "created", 2],
    ]);
    gateway.post("/pipeline", &changes).await;
    gateway.post("/multi-exec", &json!([["INCR", "counter"], ["INCR", "counter"]])).await;
    assert_eq!(gateway.unkindness.lose_writes(Duration::ZERO).await.expect("Redis answers"), 0);
    gateway.expect(&[(json!(["GET", "counter"]), json!("2"))]).await;

    assert_eq!(gateway.unkindness.lose_writes(HOUR).await.expect("Redis answers"), 4);
    gateway
        .expect(&[
            (json!(["GET", "text"]), json!("old")),
            (json!(["EXPIRETIME", "text"]), json!(4_102_444_800_u32)),
            (json!(["LRANGE", "list", 0, -1]), json!(["a"])),
            (json!(["EXISTS", "created", "counter"]), json!(0)),
        ])
        .await;
    // What is written after a failover is undone only by the next one.
    gateway.expect(&[(json!(["SET", "text", "newer"]), json!("OK"))]).await;
    assert_eq!(gateway.unkindness.lose_writes(HOUR).await.expect("Redis answers"), 1);
    gateway.expect(&[(json!(["GET", "text"]), json!("old"))]).await;
}

#[tokio::test]
async fn even_a_flush_is_undone_by_a_failover() {
    let gateway = Gateway::start().await;
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK"))]).await;
    gateway.unkindness.set_undo_window(HOUR);
    gateway.expect(&[(json!(["FLUSHALL"]), json!("OK")), (json!(["GET", "a"]), Value::Null)]).await;
    assert_eq!(gateway.unkindness.lose_writes(HOUR).await.expect("Redis answers"), 1);
    gateway.expect(&[(json!(["GET", "a"]), json!("1"))]).await;
}

#[tokio::test]
async fn writes_that_were_not_remembered_stay_and_cost_redis_nothing_more() {
    let gateway = Gateway::start().await;
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK")), (json!(["GET", "a"]), json!("1"))]).await;
    assert_eq!(gateway.unkindness.lose_writes(HOUR).await.expect("Redis answers"), 0);
    gateway.expect(&[(json!(["GET", "a"]), json!("1"))]).await;
    let stats: String = gateway.redis.query(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_set:calls=1,") && stats.contains("cmdstat_get:calls=2,"), "{stats}");
    assert!(!stats.contains("cmdstat_dump") && !stats.contains("cmdstat_multi"), "{stats}");

    // Remembering starts anew when it is switched on again: the write between is not known.
    gateway.unkindness.set_undo_window(HOUR);
    gateway.expect(&[(json!(["SET", "a", 2]), json!("OK"))]).await;
    gateway.unkindness.set_undo_window(Duration::ZERO);
    gateway.expect(&[(json!(["SET", "a", 3]), json!("OK"))]).await;
    assert_eq!(gateway.unkindness.lose_writes(HOUR).await.expect("Redis answers"), 0);
    gateway.expect(&[(json!(["GET", "a"]), json!("3"))]).await;
}

#[tokio::test]
async fn a_flush_loses_the_script_cache_too() {
    let gateway = Gateway::start().await;
    let sha = gateway.run(json!(["SCRIPT", "LOAD", "return 1"])).await["result"].clone();
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK")), (json!(["EVALSHA", sha, 0]), json!(1))]).await;
    gateway.unkindness.flush().await.expect("Redis answers");
    gateway.expect(&[(json!(["DBSIZE"]), json!(0))]).await;
    let error = gateway.run(json!(["EVALSHA", sha, 0])).await["error"].clone();
    assert!(error.as_str().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{error}");
}

#[tokio::test]
async fn faults_are_caused_over_http_only_where_configured_and_with_the_token() {
    let gateway = Gateway::with(|config| config.admin = true).await;
    gateway.unkindness.set_undo_window(HOUR);
    gateway.expect(&[(json!(["SET", "lease:a", 1]), json!("OK"))]).await;
    let admin = async |method: &str, target: &str| {
        let answer = gateway.request(method, target, &[], b"").await;
        (answer.status, answer.json())
    };
    assert_eq!(admin("POST", "/__admin/evict/1/other:*").await, (200, json!({ "result": 0 })));
    assert_eq!(admin("POST", "/__admin/evict/1").await, (200, json!({ "result": 1 })));
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK"))]).await;
    assert_eq!(admin("POST", "/__admin/lose-writes/5m").await, (200, json!({ "result": 2 })));
    gateway.expect(&[(json!(["DBSIZE"]), json!(0))]).await;
    assert_eq!(admin("POST", "/__admin/flush").await, (200, json!({ "result": "OK" })));
    let unknown = (400, json!({ "error": "ERR unknown admin command" }));
    for target in ["/__admin", "/__admin/evict/2", "/__admin/lose-writes/5", "/__admin/flush/now"] {
        assert_eq!(admin("POST", target).await, unknown, "{target}");
    }
    assert_eq!(admin("GET", "/__admin/flush").await.0, 400);
    let read_only = format!("Bearer {READ_ONLY_TOKEN}");
    let headers = [("authorization", read_only.as_str())];
    let refused = crate::http::send(gateway.address, "POST", "/__admin/flush", &headers, b"").await;
    assert!(refused.json()["error"].as_str().is_some_and(|text| text.starts_with("NOPERM ")));

    let closed = Gateway::start().await;
    assert_eq!(closed.request("POST", "/__admin/flush", &[], b"").await.status, 400);
}
