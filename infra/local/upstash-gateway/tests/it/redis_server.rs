//! The local cloud's private Redis, as the tests of the gateway handle it.

use std::path::PathBuf;
use std::process::Command;

use local_cloud::Redis;
use redis::FromRedisValue;
use tempfile::TempDir;

/// A running `redis-server`, gone when dropped.
pub(crate) struct RedisServer {
    redis: Redis,
    folder: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let redis = Redis::start_with_log(None, Some(&log(&folder))).await.expect("Redis starts");
        Self { redis, folder }
    }

    /// Starts it again after its end, at the same address, empty.
    pub(crate) async fn restart(&mut self) {
        self.redis.restart().await.expect("Redis starts");
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.redis.kill().expect("Redis is killed");
    }

    /// Stops it from answering without closing anything; `kill` still works.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let process = self.redis.process_id().expect("it is private").to_string();
        let status = Command::new("kill").args([signal, &process]).status().expect("kill is installed");
        assert!(status.success());
    }

    /// Whether its log contains the text.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(log(&self.folder)).is_ok_and(|log| log.contains(text))
    }

    /// Calls it directly, not through the gateway.
    pub(crate) fn query<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("the URL is right");
        let mut connection = client.get_connection().expect("Redis answers");
        redis::cmd(command[0]).arg(&command[1..]).query(&mut connection).expect("Redis accepts the command")
    }

    pub(crate) fn url(&self) -> &str {
        self.redis.url()
    }
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.log")
}
