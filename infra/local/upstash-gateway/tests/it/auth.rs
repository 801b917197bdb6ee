//! Tokens.

use serde_json::json;

use crate::http::send;
use crate::kit::{Gateway, READ_ONLY_TOKEN, TOKEN};

#[tokio::test]
async fn a_token_is_accepted_from_the_header_or_the_query_and_nothing_else_is() {
    let gateway = Gateway::start().await;
    let check = async |target: &str, authorization: Option<&str>, expected: u16| {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let answer = send(gateway.address, "GET", target, &headers, b"").await;
        assert_eq!(answer.status, expected, "{target} {authorization:?}");
        if expected == 401 {
            assert_eq!(answer.json(), json!({ "error": "WRONGPASS invalid or missing auth token" }));
        }
    };
    check("/ping", Some(&format!("Bearer {TOKEN}")), 200).await;
    check("/ping", Some(&format!("bearer {TOKEN}")), 200).await;
    check(&format!("/ping?_token={TOKEN}"), None, 200).await;
    check("/ping", None, 401).await;
    check("/ping", Some("Bearer wrong"), 401).await;
    check("/ping", Some("Bearer "), 401).await;
    check("/ping", Some(TOKEN), 401).await;
    check("/ping?_token=wrong", None, 401).await;
    check("/ping?_token=", None, 401).await;
    // A wrong header is not rescued by a right parameter.
    check(&format!("/ping?_token={TOKEN}"), Some("Bearer wrong"), 401).await;
}

#[tokio::test]
async fn the_read_only_token_reads_and_does_nothing_else() {
    let gateway = Gateway::start().await;
    let bearer = format!("Bearer {READ_ONLY_TOKEN}");
    let check = async |target: &str, expected: u16| {
        let answer = send(gateway.address, "GET", target, &[("authorization", &bearer)], b"").await;
        assert_eq!(answer.status, expected, "{target}: {:?}", answer.json());
        if expected == 400 {
            assert!(answer.json()["error"].as_str().unwrap_or_default().starts_with("NOPERM "), "{target}");
        }
    };
    for allowed in ["/get/a", "/mget/a/b", "/digest/a", "/ping", "/eval_ro/return%201/0"] {
        check(allowed, 200).await;
    }
    for refused in [
        "/set/a/b",
        "/del/a",
        "/delex/a",
        "/eval/return%201/0",
        "/keys/*",
        "/scan/0",
        "/flushall",
        "/monitor",
    ] {
        check(refused, 400).await;
    }
}
