//! Sizes and numbers.

use serde_json::json;
use upstash_gateway::DEFAULT_MAX_REQUEST_BYTES;

use crate::kit::Gateway;

#[tokio::test]
async fn request_body_is_limited_to_ten_megabytes() {
    let gateway = Gateway::start().await;
    let fits = vec![b'x'; DEFAULT_MAX_REQUEST_BYTES];
    let answer = gateway.request("POST", "/set/big", &[], &fits).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "result": "OK" })));
    gateway.expect(&[(json!(["STRLEN", "big"]), json!(DEFAULT_MAX_REQUEST_BYTES))]).await;

    let actual = DEFAULT_MAX_REQUEST_BYTES + 1;
    let answer = gateway.request("POST", "/set/big", &[], &vec![b'y'; actual]).await;
    let text = format!(
        "ERR max request size exceeded. Limit: {DEFAULT_MAX_REQUEST_BYTES} bytes, Actual: {actual} bytes"
    );
    assert_eq!((answer.status, answer.json()), (413, json!({ "error": text })));
    let first = gateway.run(json!(["GETRANGE", "big", 0, 0])).await;
    assert_eq!(first, json!({ "result": "x" }));
}

#[tokio::test]
async fn configured_body_limit_applies_without_content_length() {
    let gateway = Gateway::with(|config| config.max_request_bytes = 10).await;
    let check = async |body: &str, expected: u16| {
        let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let request = format!(
            "POST /set/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n{chunk}",
            crate::kit::TOKEN
        );
        let mut stream = tokio::net::TcpStream::connect(gateway.address).await.expect("the gateway listens");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("sending");
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("the answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    };
    check("0123456789", 200).await;
    check("0123456789a", 413).await;
}

#[tokio::test]
async fn requests_beyond_the_connection_limit_wait() {
    let gateway = Gateway::with(|config| {
        config.max_connections = 2;
        config.redis_connections = 1;
    })
    .await;
    let answers = futures_util::future::join_all((0..20).map(|_| gateway.run(json!(["INCR", "n"])))).await;
    assert!(answers.iter().all(|answer| answer["result"].is_u64()), "{answers:?}");
    gateway.expect(&[(json!(["GET", "n"]), json!("20"))]).await;
}
