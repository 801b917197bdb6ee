//! Redis: an empty database of the given server, or a private server that keeps nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use rustix::process::Signal;
use tokio::time::sleep;
use url::Url;

use crate::owned::{Folder, Manner, Process};
use crate::simulated_time;

const START_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const MANNER: Manner = Manner { signal: Signal::TERM, grace: Duration::from_secs(5) };
/// What Redis has unless it is configured otherwise.
const DATABASES: u32 = 16;

/// Shortens each key's time to live by the milliseconds of the argument.
const AGE: &str = r"
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left > 0 then redis.call('PEXPIRE', key, left - tonumber(ARGV[1])) end
end
";

/// A Redis database of our own. Dropping this ends a private server, and empties the database of a given one.
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
    /// An empty database of the server that `given` names, else a private server, which listens on a socket and on no
    /// port.
    ///
    /// Claims of an earlier run would make the tasks of this one duplicates: users and schedules have the same names.
    pub async fn start(given: Option<&Url>) -> anyhow::Result<Self> {
        match given {
            Some(url) => Ok(Self { url: empty_database(url).await?, server: None }),
            None => Self::private().await,
        }
    }

    /// `redis://…`, or `unix://…` for a private server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ages all keys, as if so much time had passed.
    pub async fn let_pass(&self, time: TimeDelta) -> anyhow::Result<()> {
        let mut connection = redis::Client::open(self.url())?.get_multiplexed_async_connection().await?;
        let mut age = redis::cmd("EVAL");
        age.arg(AGE).arg(0).arg(time.num_milliseconds());
        age.exec_async(&mut connection).await.context("cannot age the keys of Redis")
    }

    async fn private() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let socket = folder.path().join("redis");
        let mut command = Command::new("redis-server");
        let process = Process::spawn(
            simulated_time::exempt(&mut command)
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
        let mut server = Server { process, _folder: folder };
        server.until_ready(&url).await?;
        Ok(Self { url, server: Some(server) })
    }
}

impl Server {
    async fn until_ready(&mut self, url: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match size(url).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("Redis is not ready in time"));
                }
                Err(_not_yet) => sleep(POLL).await,
            }
            if let Some(status) = self.process.ended()? {
                bail!("redis-server ended: {status}");
            }
        }
    }
}

/// The address of the first empty database, or of the one that the URL names, if that is empty.
async fn empty_database(server: &Url) -> anyhow::Result<String> {
    let named = !matches!(server.path(), "" | "/");
    let candidates: Vec<String> = if named {
        vec![server.to_string()]
    } else {
        (0..DATABASES)
            .map(|number| {
                let mut url = server.clone();
                url.set_path(&number.to_string());
                url.to_string()
            })
            .collect()
    };
    for url in candidates {
        if size(&url).await.context("cannot use REDIS_URL")? == 0 {
            return Ok(url);
        }
    }
    bail!("REDIS_URL names no empty database; another one may be in use, so nothing was deleted")
}

/// How many keys are in a database.
async fn size(url: &str) -> anyhow::Result<u64> {
    let client = redis::Client::open(url).context("not a Redis URL")?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut connection).await?)
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.server.is_some() {
            return;
        }
        let emptied = redis::Client::open(self.url.as_str())
            .and_then(|client| client.get_connection())
            .and_then(|mut connection| redis::cmd("FLUSHDB").exec(&mut connection));
        if emptied.is_err() {
            eprintln!("could not empty the database of REDIS_URL that was used");
        }
    }
}
