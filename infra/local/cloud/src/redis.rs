//! Redis: an empty database of the given server, or a private server that keeps nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use url::Url;
use uuid::Uuid;

use crate::health::{ANSWER_DEADLINE, BETWEEN_CHECKS, ended};
use crate::owned::{Folder, Manner, Process, output};
use crate::simulated_time;

const NO_ANSWER: &str =
    "the Redis that REDIS_URL names does not answer; see its log, and start again with scripts/up";
const START_DEADLINE: Duration = Duration::from_secs(30);
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
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

/// The key that says whose a database is. It expires, so a database is free again some time after its owner was killed.
const CLAIM: &str = "local-cloud:claimed-by";
const CLAIM_LASTS: Duration = Duration::from_hours(24);
const CLAIM_RENEWAL: Duration = Duration::from_hours(1);

/// Claims the database if it has no key: one step, so that of two processes only one gets it.
const CLAIM_IF_EMPTY: &str = r"
if redis.call('DBSIZE') > 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
";

/// Empties the database if it is still claimed by the caller.
const EMPTY_IF_CLAIMED: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('FLUSHDB')
return 1
";

/// A Redis database of our own. Dropping this ends a private server, and empties the database of a given one.
#[derive(Debug)]
pub struct Redis {
    url: String,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Private(Server),
    Given(Claim),
}

/// A database of a server that others use, too.
#[derive(Debug)]
struct Claim {
    owner: String,
    renewal: JoinHandle<()>,
    answered_at: Instant,
}

#[derive(Debug)]
struct Server {
    // Dropped in this order: the server first.
    process: Process,
    folder: Folder,
    log: Option<PathBuf>,
}

impl Redis {
    /// An empty database of the server that `given` names, else a private server, which listens on a socket and on no
    /// port.
    ///
    /// Leases of an earlier run, or of another process, would make the tasks of this one duplicates: users and schedules
    /// have the same names. So the database is claimed while it is empty.
    pub async fn start(given: Option<&Url>) -> anyhow::Result<Self> {
        Self::start_with_log(given, None).await
    }

    /// The same; a private server writes to `log`.
    pub async fn start_with_log(given: Option<&Url>, log: Option<&Path>) -> anyhow::Result<Self> {
        match given {
            Some(url) => {
                let owner = Uuid::new_v4().simple().to_string();
                let url = claim_database(url, &owner).await?;
                let renewal = tokio::spawn(renew(url.clone(), owner.clone()));
                Ok(Self { url, origin: Origin::Given(Claim { owner, renewal, answered_at: Instant::now() }) })
            }
            None => Self::private(log).await,
        }
    }

    /// An error if the server does not answer any more.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        match &mut self.origin {
            Origin::Private(server) => match server.process.ended()? {
                Some(status) => bail!(ended("redis-server", status, server.process.log())),
                None => Ok(()),
            },
            Origin::Given(claim) if claim.answered_at.elapsed() > BETWEEN_CHECKS => {
                timeout(ANSWER_DEADLINE, size(&self.url)).await.context(NO_ANSWER)?.context(NO_ANSWER)?;
                claim.answered_at = Instant::now();
                Ok(())
            }
            Origin::Given(_) => Ok(()),
        }
    }

    /// `redis://…`, or `unix://…` for a private server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ages all keys, as if so much time had passed.
    pub async fn advance(&self, time: TimeDelta) -> anyhow::Result<()> {
        let mut connection = connect(self.url()).await?;
        let mut age = redis::cmd("EVAL");
        age.arg(AGE).arg(0).arg(time.num_milliseconds());
        age.exec_async(&mut connection).await.context("cannot age the keys of Redis")
    }

    /// The process of a private server; none of a given one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        match &self.origin {
            Origin::Private(server) => Some(server.process.id()),
            Origin::Given(_) => None,
        }
    }

    /// Kills a private server, as a crash would, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.private_server()?.process.kill().context("cannot kill Redis").map(drop)
    }

    /// Starts a private server again after its end, empty and at the same address.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let url = self.url.clone();
        let server = self.private_server()?;
        server.process = Server::spawn(server.folder.path(), server.log.as_deref())?;
        server.until_ready(&url).await
    }

    fn private_server(&mut self) -> anyhow::Result<&mut Server> {
        match &mut self.origin {
            Origin::Private(server) => Ok(server),
            Origin::Given(_) => bail!("the Redis of REDIS_URL is not ours"),
        }
    }

    async fn private(log: Option<&Path>) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let process = Server::spawn(folder.path(), log)?;
        let url = format!("unix://{}", Server::socket(folder.path()).display());
        let mut server = Server { process, folder, log: log.map(Path::to_owned) };
        server.until_ready(&url).await?;
        Ok(Self { url, origin: Origin::Private(server) })
    }
}

impl Server {
    fn socket(folder: &Path) -> PathBuf {
        folder.join("redis")
    }

    fn spawn(folder: &Path, log: Option<&Path>) -> anyhow::Result<Process> {
        let mut command = Command::new("redis-server");
        simulated_time::exempt(&mut command)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocketperm", "700"])
            .arg("--unixsocket")
            .arg(Self::socket(folder))
            .current_dir(folder)
            .stdout(output(log)?)
            .stderr(Stdio::null());
        let process = Process::spawn(&mut command, MANNER);
        let process = process.context("is Redis installed? run scripts/install, or set REDIS_URL")?;
        Ok(process.with_log(log))
    }

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
                bail!(ended("redis-server", status, self.process.log()));
            }
        }
    }
}

/// Claims the first empty database, or the one that the URL names, if that is empty; returns its address.
async fn claim_database(server: &Url, owner: &str) -> anyhow::Result<String> {
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
        let is_claimed: bool = evaluate(&url, CLAIM_IF_EMPTY, &[owner, &CLAIM_LASTS.as_secs().to_string()])
            .await
            .context("cannot use REDIS_URL")?;
        if is_claimed {
            return Ok(url);
        }
    }
    bail!("REDIS_URL names no empty database; another process may use it, so nothing was deleted")
}

/// Keeps the claim from expiring while its owner lives.
async fn renew(url: String, owner: String) {
    loop {
        sleep(CLAIM_RENEWAL).await;
        let renew = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('EXPIRE', KEYS[1], ARGV[2]) end return 1";
        let arguments = [&owner, &*CLAIM_LASTS.as_secs().to_string()];
        // The next renewal is long before the end of the claim.
        let _unavailable: anyhow::Result<bool> = evaluate(&url, renew, &arguments).await;
    }
}

/// One connection, for a machine that has other things to do: the client's own timeouts are a second and less.
pub async fn connect(url: &str) -> anyhow::Result<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CLIENT_TIMEOUT))
        .set_response_timeout(Some(CLIENT_TIMEOUT));
    let client = redis::Client::open(url).context("not a Redis URL")?;
    Ok(client.get_multiplexed_async_connection_with_config(&settings).await?)
}

/// Runs a script about the claim of a database.
async fn evaluate(url: &str, script: &str, arguments: &[&str]) -> anyhow::Result<bool> {
    let mut connection = connect(url).await?;
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(1).arg(CLAIM).arg(arguments);
    Ok(command.query_async(&mut connection).await?)
}

/// How many keys are in a database.
async fn size(url: &str) -> anyhow::Result<u64> {
    let mut connection = connect(url).await?;
    Ok(redis::cmd("DBSIZE").query_async(&mut connection).await?)
}

impl Drop for Redis {
    fn drop(&mut self) {
        let Origin::Given(claim) = &self.origin else { return };
        claim.renewal.abort();
        let emptied: Result<bool, _> = redis::Client::open(self.url.as_str())
            .and_then(|client| client.get_connection())
            .and_then(|mut connection| {
                redis::cmd("EVAL")
                    .arg(EMPTY_IF_CLAIMED)
                    .arg(1)
                    .arg(CLAIM)
                    .arg(&claim.owner)
                    .query(&mut connection)
            });
        if !matches!(emptied, Ok(true)) {
            eprintln!("could not empty the database of REDIS_URL that was used");
        }
    }
}
