//! The binary: its configuration and its signals.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::http::send;
use crate::redis_server::RedisServer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_upstash-gateway");

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("it starts")
}

#[track_caller]
fn check(arguments: &[&str], environment: &[(&str, &str)], complaints: &[&str]) {
    let output = run(arguments, environment);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for complaint in complaints {
        assert!(text.contains(complaint), "{complaint} is missing: {text}");
    }
}

#[test]
fn invalid_configuration_exits_with_2_and_lists_all_problems() {
    check(&[], &[], &["UPSTASH_REDIS_REST_TOKEN"]);
    check(
        &["--redis-connections", "0"],
        &[
            ("REDIS_URL", "http://x"),
            ("UPSTASH_REDIS_REST_TOKEN", " \n"),
            ("UPSTASH_REDIS_REST_READONLY_TOKEN", ""),
        ],
        &[
            "UPSTASH_REDIS_REST_TOKEN",
            "UPSTASH_REDIS_REST_READONLY_TOKEN",
            "REDIS_URL",
            "number of connections",
        ],
    );
    check(&[], &[("REDIS_URL", "rediss://x"), ("UPSTASH_REDIS_REST_TOKEN", "t")], &["TLS"]);
    check(&["--read-only-token", "t"], &[("UPSTASH_REDIS_REST_TOKEN", "t")], &["equals"]);
    check(&["--replica-lag", "2"], &[], &["500ms or 2s"]);
    check(&["--evict", "50"], &[], &["from 0 to 1"]);
    check(&["--listen", "nowhere"], &[("UPSTASH_REDIS_REST_TOKEN", "t")], &["--listen"]);
}

#[test]
fn help_shows_no_secret() {
    let output =
        run(&["--help"], &[("UPSTASH_REDIS_REST_TOKEN", "a-secret"), ("REDIS_URL", "redis://:a-secret@x")]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("--listen") && text.contains("REDIS_URL"), "{text}");
    assert!(!text.contains("a-secret"), "{text}");
}

/// The program with a token `t`, and where it listens.
async fn start(redis: &RedisServer, arguments: &[&str]) -> (Child, SocketAddr) {
    let mut child = tokio::process::Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .env_clear()
        .env("UPSTASH_REDIS_REST_TOKEN", "t\n")
        .env("REDIS_URL", redis.url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("readable").expect("one line");
    let address = line.strip_prefix("listening on http://").expect("an address").parse().expect("an address");
    (child, address)
}

#[tokio::test]
async fn program_flags_enable_faults() {
    let redis = RedisServer::start().await;
    let result = async |address: SocketAddr, method: &str, target: &str| {
        let answer = send(address, method, target, &[("authorization", "Bearer t")], b"").await;
        answer.json()["result"].clone()
    };
    let (_lagging, address) = start(&redis, &["--replica-lag", "60m", "--quota", "2"]).await;
    assert_eq!(result(address, "GET", "/set/a/1").await, "OK");
    assert_eq!(result(address, "GET", "/get/a").await, Value::Null);
    let refused = send(address, "GET", "/ping", &[("authorization", "Bearer t")], b"").await;
    assert_eq!(refused.status, 400);

    let (_forgetful, address) = start(&redis, &["--lose-writes", "60m", "--evict", "1", "--admin"]).await;
    assert_eq!(result(address, "GET", "/get/a").await, Value::Null);
    assert_eq!(result(address, "POST", "/__admin/lose-writes/60m").await, 1);
    assert_eq!(redis.query::<Option<u8>>(&["GET", "a"]), Some(1));
}

#[tokio::test]
async fn program_serves_until_sigterm_and_exits_with_0() {
    let redis = RedisServer::start().await;
    let (mut child, address) = start(&redis, &[]).await;
    let answer = send(address, "GET", "/ping", &[("authorization", "Bearer t")], b"").await;
    assert_eq!(answer.status, 200);

    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill is installed").success());
    let began = Instant::now();
    let status =
        tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("an end").expect("a status");
    assert!(status.success(), "{status} after {:?}", began.elapsed());
}
