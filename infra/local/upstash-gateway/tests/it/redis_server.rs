//! A Redis of one's own, on a socket in a directory of its own, gone when dropped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use tempfile::TempDir;

/// How long Redis may take to start or stop; far more than it needs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Its log, in its directory.
const LOG: &str = "redis.log";

/// A running `redis-server`.
pub(crate) struct RedisServer {
    directory: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        let mut server = Self { directory: tempfile::tempdir().expect("a temporary directory"), child: None };
        server.resume();
        server
    }

    /// Starts it on the same socket, empty.
    pub(crate) fn resume(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--logfile",
                LOG,
                "--unixsocket",
            ])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let deadline = Instant::now() + DEADLINE;
        while redis_ping(&self.url()).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// Stops it from answering without closing anything; `kill` still works.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().expect("kill is installed");
        assert!(status.success());
    }

    /// Whether its log contains this text.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(self.directory.path().join(LOG)).is_ok_and(|log| log.contains(text))
    }

    /// Asks it past the gateway.
    pub(crate) fn query<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("the URL is right");
        let mut connection = client.get_connection().expect("Redis answers");
        redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).expect("Redis obeys")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }
}

fn redis_ping(url: &str) -> redis::RedisResult<()> {
    redis::cmd("PING").exec(&mut redis::Client::open(url)?.get_connection()?)
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
