//! Redis away, silent, and back.

use std::time::Duration;

use serde_json::json;

use crate::kit::Gateway;

#[tokio::test]
async fn unavailable_redis_is_a_503_until_it_is_available_again() {
    let mut gateway = Gateway::start().await;
    gateway.expect(&[(json!(["SET", "a", 1]), json!("OK"))]).await;
    gateway.redis.kill();
    for (target, body) in [
        ("/", json!(["GET", "a"])),
        ("/pipeline", json!([["GET", "a"]])),
        ("/multi-exec", json!([["GET", "a"]])),
    ] {
        let answer = gateway.post(target, &body).await;
        assert_eq!(
            (answer.status, answer.json()),
            (503, json!({ "error": "ERR Redis cannot be reached" })),
            "{target}"
        );
    }
    assert_eq!(gateway.request("GET", "/subscribe/a", &[], b"").await.status, 503);
    gateway.redis.restart().await;
    // As many as there are connections, so that each has been replaced.
    for _ in 0..8 {
        gateway.expect(&[(json!(["GET", "a"]), json!(null))]).await;
    }
}

#[tokio::test]
async fn a_restart_between_requests_is_not_noticed_by_clients() {
    let mut gateway = Gateway::start().await;
    for _ in 0..8 {
        gateway.expect(&[(json!(["PING"]), json!("PONG"))]).await;
    }
    gateway.redis.kill();
    gateway.redis.restart().await;
    for _ in 0..8 {
        gateway.expect(&[(json!(["PING"]), json!("PONG"))]).await;
    }
}

#[tokio::test]
async fn unresponsive_redis_is_a_504_and_its_connection_is_not_reused() {
    let mut gateway = Gateway::with(|config| {
        config.response_timeout = Duration::from_millis(100);
        config.connect_timeout = Duration::from_millis(100);
        config.redis_connections = 1;
    })
    .await;
    gateway.expect(&[(json!(["PING"]), json!("PONG"))]).await;
    gateway.redis.freeze();
    let silent = gateway.post("/", &json!(["PING"])).await;
    assert_eq!((silent.status, silent.json()), (504, json!({ "error": "ERR Redis did not answer in time" })));
    // A new connection is accepted by the system, not by Redis, whose greeting never comes.
    assert_eq!(gateway.post("/", &json!(["PING"])).await.status, 503);
    gateway.redis.kill();
    gateway.redis.restart().await;
    gateway.expect(&[(json!(["PING"]), json!("PONG"))]).await;
}

#[tokio::test]
async fn command_in_progress_when_redis_dies_is_answered_immediately() {
    let gateway = Gateway::start().await;
    let endless = json!(["EVAL", "redis.log(redis.LOG_WARNING, 'it runs') while true do end", 0]);
    let answer = gateway.post("/", &endless);
    let kill = async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !gateway.redis.has_logged("it runs") {
            assert!(tokio::time::Instant::now() < deadline, "the script did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.redis.signal("-KILL");
    };
    let (answer, ()) = futures_util::join!(answer, kill);
    let expected = json!({ "error": "ERR the connection to Redis was lost before its answer" });
    assert_eq!((answer.status, answer.json()), (502, expected));
}
