//! The forms in which replies can come.

use serde_json::json;

use crate::kit::Gateway;

const BASE64: (&str, &str) = ("Upstash-Encoding", "base64");
const RESP2: (&str, &str) = ("Upstash-Response-Format", "resp2");

#[tokio::test]
async fn base64_covers_every_string_but_a_plain_ok() {
    let gateway = Gateway::start().await;
    let check = async |target: &str, body: serde_json::Value, expected: serde_json::Value| {
        let answer = gateway.request("POST", target, &[BASE64], body.to_string().as_bytes()).await;
        assert_eq!(answer.json(), expected, "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    };
    check("/", json!(["SET", "foo", "bar"]), json!({ "result": "OK" })).await;
    check("/", json!(["GET", "foo"]), json!({ "result": "YmFy" })).await;
    check("/", json!(["STRLEN", "foo"]), json!({ "result": 3 })).await;
    check("/", json!(["GET", "missing"]), json!({ "result": null })).await;
    check("/", json!(["PING"]), json!({ "result": "UE9ORw==" })).await;
    check("/", json!(["MGET", "foo", "missing"]), json!({ "result": ["YmFy", null] })).await;
    check("/", json!(["EVAL", "return {'a', {'b'}}", 0]), json!({ "result": ["YQ==", ["Yg=="]] })).await;
    // The JavaScript client decodes every string inside an array, so an OK there is encoded as well.
    check("/", json!(["EVAL", "return {redis.call('SET', 'x', 'y')}", 0]), json!({ "result": ["T0s="] }))
        .await;
    let commands = json!([["GET", "foo"], ["INCR", "foo"]]);
    let expected = json!([{ "result": "YmFy" }, { "error": "ERR value is not an integer or out of range" }]);
    check("/pipeline", commands.clone(), expected.clone()).await;
    check("/multi-exec", commands, expected).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_survive_in_base64_and_are_replaced_in_plain_json() {
    let gateway = Gateway::start().await;
    let stored = gateway.request("POST", "/set/binary", &[], &[0xff, 0x00, b'a']).await;
    assert_eq!(stored.json(), json!({ "result": "OK" }));
    assert_eq!(gateway.run(json!(["GET", "binary"])).await, json!({ "result": "\u{fffd}\u{0}a" }));
    let encoded = gateway.request("GET", "/get/binary", &[BASE64], b"").await;
    assert_eq!(encoded.json(), json!({ "result": "/wBh" }));
}

#[tokio::test]
async fn resp2_format_equals_the_bytes_of_redis() {
    let gateway = Gateway::start().await;
    let check = async |target: &str, body: serde_json::Value, status: u16, expected: &str| {
        let answer = gateway.request("POST", target, &[RESP2], body.to_string().as_bytes()).await;
        assert_eq!(
            (answer.status, String::from_utf8_lossy(&answer.body).as_ref(), answer.header("content-type")),
            (status, expected, Some("application/octet-stream")),
            "{body}"
        );
    };
    check("/", json!(["SET", "foo", "bar"]), 200, "+OK\r\n").await;
    check("/", json!(["GET", "foo"]), 200, "$3\r\nbar\r\n").await;
    check("/", json!(["GET", "missing"]), 200, "$-1\r\n").await;
    check("/", json!(["STRLEN", "foo"]), 200, ":3\r\n").await;
    check("/", json!(["MGET", "foo", "missing"]), 200, "*2\r\n$3\r\nbar\r\n$-1\r\n").await;
    check("/", json!(["INCR", "foo"]), 400, "-ERR value is not an integer or out of range\r\n").await;
    check("/pipeline", json!([["GET", "foo"], ["PING"]]), 200, "$3\r\nbar\r\n+PONG\r\n").await;
}

#[tokio::test]
async fn unknown_and_incompatible_formats_are_refused() {
    let gateway = Gateway::start().await;
    for headers in [&[RESP2, BASE64][..], &[("Upstash-Response-Format", "resp3")][..]] {
        let answer = gateway.request("GET", "/ping", headers, b"").await;
        assert_eq!(answer.status, 400, "{headers:?}");
    }
    // Transactions have only JSON.
    let answer = gateway.request("POST", "/multi-exec", &[RESP2], br#"[["PING"]]"#).await;
    assert_eq!(answer.json(), json!([{ "result": "PONG" }]));
    let answer = gateway.request("GET", "/ping", &[("Upstash-Response-Format", "json")], b"").await;
    assert_eq!(answer.json(), json!({ "result": "PONG" }));
}
