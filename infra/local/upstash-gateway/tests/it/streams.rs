//! Server-sent events.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use crate::http::open;
use crate::kit::{Gateway, TOKEN};

/// An open stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(gateway: &Gateway, target: &str) -> Self {
        let target = format!("{target}?_token={TOKEN}");
        let headers = [("accept", "text/event-stream"), ("upstash-encoding", "base64")];
        let mut events = Self(BufReader::new(open(gateway.address, "POST", &target, &headers, b"[]").await));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            events.0.read_line(&mut head).await.expect("the head");
        }
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        events
    }

    /// The next line that is data; what lies between (chunk sizes, empty lines) is passed over.
    async fn data(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.expect("more events"), 0, "the stream ended");
            if let Some(data) = line.trim_end_matches(['\r', '\n']).strip_prefix("data: ") {
                return data.to_owned();
            }
        }
    }

    /// Waits for the end; how many bytes came until then.
    async fn ends(mut self) -> usize {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.expect("the end")
    }
}

#[tokio::test]
async fn subscribers_get_their_confirmation_and_then_every_message() {
    let gateway = Gateway::start().await;
    let mut one = Events::open(&gateway, "/subscribe/chat/news").await;
    assert_eq!(one.data().await, "subscribe,chat,1");
    assert_eq!(one.data().await, "subscribe,news,2");
    let mut pattern = Events::open(&gateway, "/psubscribe/ch*").await;
    assert_eq!(pattern.data().await, "psubscribe,ch*,1");
    gateway.expect(&[(json!(["PUBLISH", "chat", "hello, you"]), json!(2))]).await;
    let published = gateway.request("GET", "/publish/news/%7B%22a%22:1%7D", &[], b"").await;
    assert_eq!(published.json(), json!({ "result": 1 }));
    gateway.expect(&[(json!(["PUBLISH", "chat", "two\nlines"]), json!(2))]).await;
    assert_eq!(one.data().await, "message,chat,hello, you");
    assert_eq!(one.data().await, r#"message,news,{"a":1}"#);
    assert_eq!(one.data().await, "message,chat,two");
    assert_eq!(one.data().await, "lines");
    assert_eq!(pattern.data().await, "pmessage,ch*,chat,hello, you");
}

#[tokio::test]
async fn monitor_shows_the_commands_that_follow() {
    let gateway = Gateway::start().await;
    let mut events = Events::open(&gateway, "/monitor").await;
    assert_eq!(events.data().await, "\"OK\"");
    gateway.run(json!(["SET", "k", "v"])).await;
    loop {
        if events.data().await.ends_with(r#""SET" "k" "v""#) {
            break;
        }
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_until_one_closes() {
    let gateway = Gateway::with(|config| config.max_streams = 1).await;
    let first = Events::open(&gateway, "/subscribe/a").await;
    let answer = gateway.request("GET", "/subscribe/b", &[], b"").await;
    assert_eq!((answer.status, answer.json()), (503, json!({ "error": "ERR too many streams are open" })));
    drop(first);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let mut stream =
            open(gateway.address, "GET", &format!("/subscribe/b?_token={TOKEN}"), &[], b"").await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("a status");
        if status == *b"HTTP/1.1 200" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the place was not freed");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn streams_end_when_the_gateway_stops() {
    let mut gateway = Gateway::start().await;
    let mut events = Events::open(&gateway, "/subscribe/a").await;
    assert_eq!(events.data().await, "subscribe,a,1");
    gateway.stop().await;
    events.ends().await;
}

#[tokio::test]
async fn streams_end_when_redis_becomes_unavailable() {
    let mut gateway = Gateway::start().await;
    let mut events = Events::open(&gateway, "/subscribe/a").await;
    assert_eq!(events.data().await, "subscribe,a,1");
    gateway.redis.kill();
    events.ends().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_before_memory_fills() {
    const MESSAGE_BYTES: usize = 1024 * 1024;
    const MESSAGES: usize = 64;
    let gateway = Gateway::start().await;
    let mut events = Events::open(&gateway, "/subscribe/flood").await;
    assert_eq!(events.data().await, "subscribe,flood,1");
    let message = vec![b'x'; MESSAGE_BYTES];
    for _ in 0..MESSAGES {
        assert_eq!(gateway.request("POST", "/publish/flood", &[], &message).await.status, 200);
    }
    assert!(events.ends().await < MESSAGES * MESSAGE_BYTES);
}
