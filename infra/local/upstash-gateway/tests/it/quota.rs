//! The end of a month's commands.

use serde_json::json;

use crate::kit::Gateway;

#[tokio::test]
async fn beyond_the_quota_every_request_is_refused_and_none_is_billed() {
    let gateway = Gateway::with(|config| config.stats = true).await;
    gateway.unkindness.set_quota(Some(3));
    gateway.post("/pipeline", &json!([["SET", "a", 1], ["GET", "a"]])).await;
    gateway.expect(&[(json!(["GET", "a"]), json!("1"))]).await;
    let refusal = json!({ "error": "ERR max requests limit exceeded. Limit: 3, Usage: 3. See https://upstash.com/docs/redis/troubleshooting/max_requests_limit for details" });
    for (target, body) in [
        ("/", json!(["GET", "a"])),
        ("/pipeline", json!([["SET", "a", 2]])),
        ("/multi-exec", json!([["SET", "a", 2]])),
        ("/subscribe/channel", json!(null)),
        ("/monitor", json!(null)),
    ] {
        let answer = gateway.post(target, &body).await;
        assert_eq!((answer.status, answer.json()), (400, refusal.clone()), "{target}");
    }
    assert_eq!(gateway.request("GET", "/__stats", &[], b"").await.json()["billed"], 3);

    gateway.billing.reset();
    gateway.expect(&[(json!(["GET", "a"]), json!("1"))]).await;
    gateway.unkindness.set_quota(Some(0));
    assert_eq!(gateway.post("/", &json!(["GET", "a"])).await.status, 400);
    gateway.unkindness.set_quota(None);
    gateway.expect(&[(json!(["GET", "a"]), json!("1"))]).await;
}
