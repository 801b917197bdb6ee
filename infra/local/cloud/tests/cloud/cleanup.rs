//! What the local cloud started goes with it, however it ends, and nothing else does.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use local_cloud::Redis;

const PATIENCE: Duration = Duration::from_secs(30);

/// `local-cloud database`, up to the moment when the database is there.
fn database() -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-cloud"))
        .arg("database")
        .env_remove("DATABASE_URL")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let output = child.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    assert!(line.starts_with("postgres://"), "{line}");
    (child, line.trim().to_owned())
}

/// Whether the command line of a running process has `text` in it.
fn runs(text: &str) -> bool {
    let output = Command::new("ps").args(["-eo", "args"]).output().expect("ps");
    String::from_utf8_lossy(&output.stdout).contains(text)
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok()).expect("a port")
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

#[track_caller]
fn check_that_postgres_ends_after(name: &str) {
    let (mut child, url) = database();
    let address = ("127.0.0.1", port(&url));
    assert!(std::net::TcpStream::connect(address).is_ok());
    signal(&child, name);
    child.wait().expect("its end");
    wait_until("Postgres is gone", || std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_request_to_stop_ends_postgres() {
    check_that_postgres_ends_after("-TERM");
    check_that_postgres_ends_after("-INT");
}

#[test]
fn a_killed_owner_leaves_no_postgres() {
    check_that_postgres_ends_after("-KILL");
}

#[tokio::test]
async fn a_dropped_redis_takes_its_folder_along_and_no_other_redis() {
    let other = Redis::start(None).await.expect("Redis starts");
    let redis = Redis::start(None).await.expect("Redis starts");
    let socket = redis.url().strip_prefix("unix://").expect("a socket").to_owned();
    let folder = socket.rsplit_once('/').expect("a folder").0.to_owned();
    assert!(runs(&folder));
    drop(redis);
    assert!(!runs(&folder));
    assert!(!std::path::Path::new(&folder).exists());
    assert!(runs(other.url().trim_start_matches("unix://")));
}
