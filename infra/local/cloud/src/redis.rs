//! Redis: the given server, or a private one that keeps nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::owned::{Folder, Manner, Process};

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const MANNER: Manner = Manner { signal: Signal::TERM, grace: Duration::from_secs(5) };

/// A Redis server. A private one ends when this is dropped.
#[derive(Debug)]
pub struct Redis {
    url: String,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    // Dropped in this order: the server first.
    process: Process,
    _folder: Folder,
}

impl Redis {
    /// The server that `given` names, else a private one, which listens on a socket and on no port.
    pub async fn start(given: Option<&str>) -> anyhow::Result<Self> {
        let mut redis = match given {
            Some(url) => Self { url: url.to_owned(), server: None },
            None => Self::private()?,
        };
        redis.until_ready().await?;
        Ok(redis)
    }

    /// `redis://…`, or `unix://…` for a private server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn private() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let socket = folder.path().join("redis");
        let process = Process::spawn(
            Command::new("redis-server")
                .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocketperm", "700"])
                .arg("--unixsocket")
                .arg(&socket)
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
            MANNER,
        )
        .context("is Redis installed? run scripts/install, or set REDIS_URL")?;
        let url = format!("unix://{}", socket.display());
        Ok(Self { url, server: Some(Server { process, _folder: folder }) })
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.url.as_str()).context("not a Redis URL")?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match ping(&client).await {
                Ok(()) => return Ok(()),
                Err(error) if self.server.is_none() => return Err(error).context("cannot reach REDIS_URL"),
                Err(error) if Instant::now() > deadline => return Err(error).context("Redis is not ready in time"),
                Err(_not_yet) => sleep(POLL).await,
            }
            if let Some(server) = &mut self.server
                && let Some(status) = server.process.ended()?
            {
                bail!("redis-server ended: {status}");
            }
        }
    }
}

async fn ping(client: &redis::Client) -> redis::RedisResult<()> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut connection).await
}
