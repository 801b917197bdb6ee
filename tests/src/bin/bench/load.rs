//! The load generator: requests over kept connections, such as tasks as Cloud Tasks sends them.
//!
//! One thread and a minimal HTTP client, so that it takes as little as possible from what it measures.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use shared::clock::Clock;
use shared::queue::Queue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Who is sent requests, which, and what a right response is.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Makes the next request.
    pub(crate) request: Box<dyn Fn() -> String>,
    pub(crate) status: u16,
    pub(crate) contains: &'static str,
}

/// What one round took.
pub(crate) struct Round {
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Vec<Duration>,
}

/// Open connections to a target: as many requests are in flight.
pub(crate) struct Connections<'a> {
    target: &'a Target,
    connections: Vec<Connection>,
}

impl<'a> Connections<'a> {
    pub(crate) async fn open(target: &'a Target, count: usize) -> anyhow::Result<Self> {
        let connect = async |_| -> anyhow::Result<Connection> {
            let stream = TcpStream::connect(target.address).await.context("cannot connect")?;
            stream.set_nodelay(true)?;
            Ok(Connection { stream, received: Vec::new() })
        };
        Ok(Self { target, connections: try_join_all((0..count).map(connect)).await? })
    }

    /// Sends that many requests, each of them new.
    pub(crate) async fn send(&mut self, requests: usize) -> anyhow::Result<Round> {
        let left = Cell::new(requests);
        let latencies = RefCell::new(Vec::with_capacity(requests));
        let target = self.target;
        let started = Instant::now();
        try_join_all(self.connections.iter_mut().map(async |connection| {
            while let Some(next) = left.get().checked_sub(1) {
                left.set(next);
                let request = (target.request)();
                let sent = Instant::now();
                connection.exchange(&request, target).await?;
                latencies.borrow_mut().push(sent.elapsed());
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok(Round { elapsed: started.elapsed(), latencies: latencies.into_inner() })
    }
}

impl Target {
    /// Of tasks for a queue.
    pub(crate) fn of_tasks(address: SocketAddr, queue: Queue, token: &str, contains: &'static str) -> Self {
        let token = token.to_owned();
        let request = Box::new(move || Self::task(address, queue, &token));
        Self { address, request, status: 200, contains }
    }

    /// The first dispatch of a task for a user who does not exist.
    fn task(address: SocketAddr, queue: Queue, token: &str) -> String {
        let (name, user) = (Uuid::new_v4().simple(), Uuid::new_v4());
        let body = json!({
            "data": { "userId": user }, "idempotencyKey": format!("bench-{name}"), "jobName": queue.name(),
        });
        let body = body.to_string();
        let now = Clock::system().now();
        format!(
            "POST {} HTTP/1.1\r\n\
             Host: {}\r\n\
             User-Agent: Google-Cloud-Tasks\r\n\
             Content-Type: application/json\r\n\
             Authorization: Bearer {}\r\n\
             X-CloudTasks-QueueName: {}\r\n\
             X-CloudTasks-TaskName: {name}\r\n\
             X-CloudTasks-TaskRetryCount: 0\r\n\
             X-CloudTasks-TaskExecutionCount: 0\r\n\
             X-CloudTasks-TaskETA: {}.{:06}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            queue.path(),
            address,
            token,
            queue.cloud_name(),
            now.timestamp(),
            now.timestamp_subsec_micros(),
            body.len(),
        )
    }
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    async fn exchange(&mut self, request: &str, target: &Target) -> anyhow::Result<()> {
        self.stream.write_all(request.as_bytes()).await.context("cannot send")?;
        self.received.clear();
        while !is_complete(&self.received)? {
            let read = self.stream.read_buf(&mut self.received).await.context("cannot receive")?;
            ensure!(read > 0, "the connection was closed");
        }
        let response = String::from_utf8_lossy(&self.received);
        let Target { status, contains, .. } = target;
        ensure!(
            response.starts_with(&format!("HTTP/1.1 {status} ")) && response.contains(contains),
            "another response than {status} with {contains:?}: {response}"
        );
        Ok(())
    }
}

/// Whether a response has arrived whole. Only responses with `Content-Length` are understood, and those that have no body.
fn is_complete(received: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let text = std::str::from_utf8(&received[..head]).context("a head that is not text")?;
    if text.starts_with("HTTP/1.1 204 ") {
        return Ok(true);
    }
    let length: usize = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .context("a response without Content-Length")?;
    Ok(received.len() >= head + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_the_last_byte_of_its_body() {
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        for end in 0..response.len() {
            assert!(!is_complete(&response[..end]).unwrap(), "after {end} bytes");
        }
        assert!(is_complete(response).unwrap());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "its end is unknown");
    }
}
