//! Postgres: the given server, or a private cluster from the installed programs.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use url::Url;
use uuid::Uuid;

use crate::health::{ANSWER_DEADLINE, BETWEEN_CHECKS, ended};
use crate::owned::{Folder, Manner, Process};
use crate::ports;

/// The running application's tables, for databases of ours only.
pub const APPLICATION_SCHEMA: &str = include_str!("../schema/application.sql");

const NO_ANSWER: &str =
    "the Postgres that DATABASE_URL names does not answer; see its log, and start again with scripts/up";
const START_DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);
/// A server that others started may not answer any more: its databases are left to it then.
const DROP_DEADLINE: Duration = Duration::from_secs(30);
/// Another process may take a free port before the server does.
const PORT_ATTEMPTS: usize = 5;
/// `SIGQUIT`: immediately, without a checkpoint; the data are thrown away with the cluster.
const IMMEDIATELY: Manner = Manner { signal: Signal::QUIT, grace: Duration::from_secs(10) };
/// Users that may own a cluster when this process runs as root, which Postgres refuses to.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// A server on which databases can be created. When this is dropped, a private one ends with all its data, and from a
/// given one the databases created here are dropped.
#[derive(Debug)]
pub struct Postgres {
    url: Url,
    template: OnceCell<String>,
    /// Databases on a server that outlives us.
    created: Mutex<Vec<String>>,
    cluster: Option<Cluster>,
    answered_at: Instant,
}

#[derive(Debug)]
struct Cluster {
    // Dropped in this order: the server first.
    server: Process,
    folder: Folder,
}

impl Postgres {
    /// The server that `given` names, on which only databases of our own are created and used; else a private cluster.
    ///
    /// A private cluster listens on a port of 127.0.0.1 and on a socket. It survives nothing: `fsync` is off.
    pub async fn start(given: Option<&Url>) -> anyhow::Result<Self> {
        Self::start_with_log(given, None).await
    }

    /// The same; a private server writes to `log`.
    pub async fn start_with_log(given: Option<&Url>, log: Option<&Path>) -> anyhow::Result<Self> {
        let (url, cluster) = if let Some(url) = given {
            connect(url).await.context("cannot reach the server that DATABASE_URL names")?.close().await?;
            (url.clone(), None)
        } else {
            let (url, cluster) = Cluster::start(log).await?;
            (url, Some(cluster))
        };
        Ok(Self {
            url,
            template: OnceCell::new(),
            created: Mutex::default(),
            cluster,
            answered_at: Instant::now(),
        })
    }

    /// The server's own database `postgres`, or the one that was given.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the server is ours and ends with us.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.cluster.is_some()
    }

    /// An error if the server does not answer any more.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        if let Some(cluster) = &mut self.cluster {
            if let Some(status) = cluster.server.ended()? {
                bail!(ended("Postgres", status, cluster.server.log()));
            }
        } else if self.answered_at.elapsed() > BETWEEN_CHECKS {
            let answer = timeout(ANSWER_DEADLINE, connect(&self.url)).await;
            answer.context(NO_ANSWER)?.context(NO_ANSWER)?.close().await?;
            self.answered_at = Instant::now();
        }
        Ok(())
    }

    /// Where a private server keeps its data.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.cluster.as_ref().map(|cluster| cluster.folder.path())
    }

    /// Creates a database with all tables, and returns its URL. Cheap: the first one serves as a template.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<Url> {
        let template = self.template.get_or_try_init(|| self.create_template()).await?;
        self.create(name, &format!("TEMPLATE {}", quoted(template))).await
    }

    /// Creates a database without any table.
    pub async fn create_empty_database(&self, name: &str) -> anyhow::Result<Url> {
        self.create(name, "").await
    }

    async fn create_template(&self) -> anyhow::Result<String> {
        let name = format!("local_cloud_template_{}", Uuid::new_v4().simple());
        let url = self.create_empty_database(&name).await?;
        prepare(&url).await?;
        Ok(name)
    }

    async fn create(&self, name: &str, from: &str) -> anyhow::Result<Url> {
        execute(&self.url, &format!("CREATE DATABASE {} {from}", quoted(name))).await?;
        if !self.is_private() {
            self.created.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        }
        let mut url = self.url.clone();
        url.set_path(name);
        Ok(url)
    }

    async fn drop_databases(url: &Url, names: &[String]) -> anyhow::Result<()> {
        for name in names {
            execute(url, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).await?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let names = std::mem::take(self.created.get_mut().unwrap_or_else(PoisonError::into_inner));
        if names.is_empty() {
            return;
        }
        let url = &self.url;
        let farewell = || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { timeout(DROP_DEADLINE, Self::drop_databases(url, &names)).await? })
        };
        // A thread of its own: this one may belong to a runtime, in which nothing may block on another.
        let result = thread::scope(|scope| scope.spawn(farewell).join());
        if !matches!(result, Ok(Ok(()))) {
            eprintln!("could not drop from the server that DATABASE_URL names: {}", names.join(", "));
        }
    }
}

async fn execute(url: &Url, sql: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    connection.execute(AssertSqlSafe(sql)).await.with_context(|| format!("failed: {sql}"))?;
    connection.close().await?;
    Ok(())
}

/// Gives an empty database the application's tables and the schema `jobs`.
pub async fn prepare(url: &Url) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    connection.execute(APPLICATION_SCHEMA).await.context("cannot create the application's tables")?;
    connection.close().await?;
    migrate(url).await
}

/// Gives a database of the application the schema `jobs`.
pub(crate) async fn migrate(url: &Url) -> anyhow::Result<()> {
    catchup::db::migrations::migrate(options(url)?).await.context("cannot migrate the schema `jobs`")
}

/// One connection whose session is in UTC.
pub async fn connect(url: &Url) -> anyhow::Result<PgConnection> {
    let options = options(url)?.options([("timezone", "UTC")]).disable_statement_logging();
    PgConnection::connect_with(&options).await.context("cannot connect to Postgres")
}

fn options(url: &Url) -> anyhow::Result<PgConnectOptions> {
    PgConnectOptions::from_url(url).context("not a Postgres URL")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Cluster {
    async fn start(log: Option<&Path>) -> anyhow::Result<(Url, Self)> {
        let folder = Folder::new()?;
        let programs = Programs::find()?;
        let owner = Owner::of_clusters()?;
        owner.give(folder.path())?;
        let data = folder.path().join("data");
        initialise(&programs, owner, &data)?;
        for _ in 0..PORT_ATTEMPTS {
            let port = ports::free()?;
            let log = log.map_or_else(|| folder.path().join("postgres.log"), Path::to_owned);
            let mut server = serve(&programs, owner, &data, folder.path(), port, &log)?;
            let url = format!("postgres://postgres@127.0.0.1:{port}/postgres").parse()?;
            if until_ready(&mut server, &url).await? {
                return Ok((url, Self { server: server.with_log(Some(&log)), folder }));
            }
            let log = fs::read_to_string(&log).unwrap_or_default();
            ensure!(log.contains("could not bind"), "Postgres did not start:\n{log}");
        }
        bail!("found no free port for Postgres")
    }
}

fn initialise(programs: &Programs, owner: Owner, data: &Path) -> anyhow::Result<()> {
    // With locale C, `lower` would leave all but ASCII as it is, unlike in production.
    let locale = if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" };
    let output = owner
        .run(&programs.initdb)
        .args(["--auth=trust", "--encoding=UTF8", "--no-sync", "--username=postgres"])
        .arg(format!("--locale={locale}"))
        .arg("--pgdata")
        .arg(data)
        .output()
        .context("cannot run initdb")?;
    ensure!(output.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn serve(
    programs: &Programs,
    owner: Owner,
    data: &Path,
    sockets: &Path,
    port: u16,
    log: &Path,
) -> anyhow::Result<Process> {
    const SETTINGS: [&str; 6] = [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "max_connections=300",
        "timezone=UTC",
    ];
    let log = File::create(log).context("cannot write the log of Postgres")?;
    let mut command = owner.run(&programs.postgres);
    command.arg("-D").arg(data).arg("-k").arg(sockets).arg("-p").arg(port.to_string());
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", *setting]));
    Process::spawn(command.stdout(Stdio::null()).stderr(log), IMMEDIATELY)
}

/// False when the server ended instead.
async fn until_ready(server: &mut Process, url: &Url) -> anyhow::Result<bool> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        if server.ended()?.is_some() {
            return Ok(false);
        }
        match connect(url).await {
            Ok(connection) => {
                connection.close().await?;
                return Ok(true);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error.context("Postgres is not ready in time"));
            }
            Err(_not_yet) => sleep(POLL).await,
        }
    }
}

struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
}

impl Programs {
    /// Debian keeps them out of the search path, and so does Homebrew for all but the newest version.
    fn find() -> anyhow::Result<Self> {
        const VERSIONED: [(&str, &str); 3] = [
            ("/usr/lib/postgresql", ""),
            ("/opt/homebrew/opt", "postgresql@"),
            ("/usr/local/opt", "postgresql@"),
        ];
        let newest = VERSIONED
            .iter()
            .flat_map(|(parent, prefix)| versions(Path::new(parent), prefix))
            .max_by_key(|(version, _)| *version)
            .map(|(_, folder)| folder.join("bin"));
        let folders =
            newest.into_iter().chain(["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
        folders
            .map(|folder| Self { initdb: folder.join("initdb"), postgres: folder.join("postgres") })
            .find(|programs| programs.initdb.exists() && programs.postgres.exists())
            .context("Postgres is not installed: run scripts/install, or set DATABASE_URL")
    }
}

fn versions(parent: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect()
}

/// As whom a cluster runs.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Ourselves,
    User { uid: u32, gid: u32 },
}

impl Owner {
    fn of_clusters() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        UNPRIVILEGED
            .iter()
            .find_map(|name| user(&users, name))
            .context("Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody`")
    }

    fn run(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Self::User { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        // A folder that this user may not enter would make the programs complain.
        command.current_dir("/tmp");
        command
    }

    fn give(self, folder: &Path) -> anyhow::Result<()> {
        if let Self::User { uid, gid } = self {
            chown(folder, Some(uid), Some(gid))
                .context("cannot give a folder to the owner of the cluster")?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }
}

/// The line of `name` in the format of `/etc/passwd`.
fn user(users: &str, name: &str) -> Option<Owner> {
    let fields =
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
    Some(Owner::User { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}
