//! HTTP/1.1 by hand: what goes over the wire is what a test says.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header's value; names are compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = open(address, method, target, headers, body).await;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("the answer");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a complete head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a textual head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// Sends one request and leaves the answer to be read.
pub(crate) async fn open(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
    let length = body.len().to_string();
    let always = [("host", "gateway"), ("connection", "close"), ("content-length", &length)];
    let lines: Vec<_> =
        always.iter().chain(headers).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {target} HTTP/1.1\r\n{}\r\n", lines.concat());
    stream.write_all(head.as_bytes()).await.expect("sending the head");
    stream.write_all(body).await.expect("sending the body");
    stream
}
