//! What the local cloud started goes with it, however it ends, and nothing else does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use local_cloud::Redis;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(30);

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
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A function that answers 200 to everything, in a folder as a build leaves it. It writes its environment next to itself.
const FUNCTION: &str = "#!/usr/bin/env python3
import http.server, json, os
with open(__file__ + '.json', 'w') as file:
    json.dump(dict(os.environ), file)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    do_POST = do_GET
http.server.ThreadingHTTPServer((os.environ['HOST'], int(os.environ['PORT'])), Handler).serve_forever()
";

/// The folder of a build that has only that function.
pub(crate) fn programs() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("adaptive-sync");
    fs::write(&program, FUNCTION).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("may run");
    folder
}

/// `local-cloud up` with that function, up to the moment when everything runs.
fn up() -> (Child, TempDir) {
    let (child, folder, lines) = up_with_console();
    // The rest is not needed.
    std::thread::spawn(move || lines.for_each(drop));
    (child, folder)
}

/// The same, with the lines that it prints from then on.
fn up_with_console() -> (Child, TempDir, impl Iterator<Item = String> + Send + 'static) {
    let folder = programs();
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-cloud"))
        .args(["up", "--users", "2", "--max-contacts", "10", "--programs"])
        .arg(folder.path())
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let console = child.stderr.take().expect("its console");
    let mut lines = BufReader::new(console).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C stops everything")), "everything runs");
    (child, folder, lines)
}

/// The processes below this one.
fn descendants(parent: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-eo", "pid,ppid"]).output().expect("ps");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut found = vec![parent];
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        found.extend(pairs.iter().filter(|(_, below)| *below == above).map(|(process, _)| *process));
        at += 1;
    }
    found.split_off(1)
}

fn is_alive(process: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output().expect("ps");
    let state = String::from_utf8_lossy(&output.stdout);
    !state.trim().is_empty() && !state.starts_with('Z')
}

#[track_caller]
fn check_that_everything_ends_after(name: &str, code: Option<i32>) {
    let (mut child, _folder) = up();
    let started = descendants(child.id());
    // Postgres with its own, Redis, the function and the watchdog.
    assert!(started.len() >= 4, "{started:?}");
    signal(&child, name);
    assert_eq!(child.wait().expect("its end").code(), code);
    wait_until("all that it started is gone", || !started.iter().any(|process| is_alive(*process)));
}

#[tokio::test]
async fn ctrl_c_ends_everything_that_up_started_and_nothing_else() {
    let other = Redis::start(None).await.expect("Redis starts");
    check_that_everything_ends_after("-INT", Some(0));
    assert!(runs(other.url().trim_start_matches("unix://")));
}

#[test]
fn killed_up_leaves_no_process() {
    check_that_everything_ends_after("-KILL", None);
}

#[track_caller]
fn check_that_the_end_is_reported(command: &str, name: &str, log: &str) {
    let (mut child, _folder, mut console) = up_with_console();
    let process = descendants(child.id())
        .into_iter()
        .find(|process| args(*process).contains(command))
        .expect("the process runs");
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status().expect("kill");
    assert!(status.success());
    let line = console.find(|line| line.starts_with("failed: ")).expect("a report");
    for part in [name, log, "SIGKILL", "scripts/up"] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    assert_eq!(child.wait().expect("its end").code(), Some(1));
}

fn args(process: u32) -> String {
    let output = Command::new("ps").args(["-o", "args=", "-p", &process.to_string()]).output().expect("ps");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn up_reports_a_killed_function_with_its_log() {
    check_that_the_end_is_reported("adaptive-sync", "adaptive-sync", "/adaptive-sync.log");
}

#[test]
fn up_reports_a_killed_postgres_with_its_log() {
    check_that_the_end_is_reported("listen_addresses", "Postgres", "/postgres.log");
}

#[test]
fn up_does_not_print_the_password_of_a_malformed_url() {
    for (variable, url) in
        [("DATABASE_URL", "postgres//u:hunter2@host"), ("REDIS_URL", "u:hunter2@host:port")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_local-cloud"))
            .arg("up")
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .env(variable, url)
            .output()
            .expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(variable) && !text.contains("hunter2"), "{text}");
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
fn killed_owner_leaves_no_postgres() {
    check_that_postgres_ends_after("-KILL");
}

#[tokio::test]
async fn dropping_redis_stops_its_server_and_removes_its_folder() {
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
