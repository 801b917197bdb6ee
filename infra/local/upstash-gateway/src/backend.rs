//! The connections to Redis: a few, shared, opened when needed, replaced when dead.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{Monitor, MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisError, ServerError, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A command as it goes to Redis.
pub(crate) type Wire = Vec<Vec<u8>>;

/// A command of plain words.
pub(crate) fn words<const N: usize>(list: [&str; N]) -> Wire {
    list.map(|word| word.as_bytes().to_vec()).into()
}

/// Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Nothing was sent.
    #[error("ERR Redis cannot be reached")]
    Unreachable(#[source] ConnectError),
    /// The commands may or may not have been carried out.
    #[error("ERR Redis did not answer in time")]
    Silent(#[source] RedisError),
    /// The commands may or may not have been carried out.
    #[error("ERR the connection to Redis was lost before its answer")]
    Lost(#[source] RedisError),
    /// Redis refused a command of the gateway's own.
    #[error("ERR Redis refused what the gateway needs")]
    Refused(#[source] RedisError),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No socket.
    #[error("connecting failed")]
    Socket(#[source] io::Error),
    /// A socket, but no Redis that lets us in.
    #[error("the handshake failed")]
    Handshake(#[source] RedisError),
    /// Neither in time.
    #[error("connecting took too long")]
    Timeout,
    /// Neither TCP nor a Unix socket.
    #[error("this kind of address is not supported")]
    Address,
}

/// A pool of shared connections. A request uses one, together with others; slots are taken in turn.
#[derive(Debug)]
pub(crate) struct Backend {
    info: ConnectionInfo,
    connect_timeout: Duration,
    response_timeout: Duration,
    slots: Box<[Mutex<Option<Arc<Link>>>]>,
    turn: AtomicUsize,
}

impl Backend {
    pub(crate) fn new(
        info: ConnectionInfo,
        connections: usize,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Self {
        let slots = (0..connections).map(|_| Mutex::default()).collect();
        Self { info, connect_timeout, response_timeout, slots, turn: AtomicUsize::new(0) }
    }

    /// A live connection, made now if need be.
    pub(crate) async fn link(&self) -> Result<Arc<Link>, BackendError> {
        let slot = &self.slots[self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        // Waiting for another request's attempt counts too: no request waits longer than one attempt may take.
        self.in_time(async {
            let mut slot = slot.lock().await;
            match slot.as_ref() {
                Some(link) if link.is_usable() => Ok(Arc::clone(link)),
                Some(_) | None => {
                    let link = Arc::new(self.connect().await?);
                    Ok(Arc::clone(slot.insert(link)))
                }
            }
        })
        .await
    }

    /// A connection of its own, for a caller that may live on another runtime than the shared ones. What the server can do
    /// is not asked for: that answer is long, and commands of our own do not depend on it.
    pub(crate) async fn separate_link(&self) -> Result<Link, BackendError> {
        let (connection, driver) = self.in_time(self.open()).await?;
        Ok(Link { connection, driver, given_up: AtomicBool::new(false), server: Capabilities::default() })
    }

    /// A connection of its own for a subscriber.
    pub(crate) async fn subscriber(&self) -> Result<PubSub, BackendError> {
        self.in_time(async {
            let socket = self.socket().await?;
            PubSub::new(self.info.redis_settings(), socket).await.map_err(ConnectError::Handshake)
        })
        .await
    }

    /// A connection of its own that reports every command.
    pub(crate) async fn monitor(&self) -> Result<Monitor, BackendError> {
        self.in_time(async {
            let client = redis::Client::open(self.info.clone()).map_err(ConnectError::Handshake)?;
            client.get_async_monitor().await.map_err(ConnectError::Handshake)
        })
        .await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, BackendError> {
        tokio::time::timeout(self.connect_timeout, work)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
            .map_err(BackendError::Unreachable)
    }

    async fn open(&self) -> Result<(MultiplexedConnection, Driver), ConnectError> {
        let settings = AsyncConnectionConfig::new().set_response_timeout(Some(self.response_timeout));
        let socket = self.socket().await?;
        let (connection, driver) =
            MultiplexedConnection::new_with_config(self.info.redis_settings(), socket, settings)
                .await
                .map_err(ConnectError::Handshake)?;
        Ok((connection, Driver(tokio::spawn(driver))))
    }

    async fn connect(&self) -> Result<Link, ConnectError> {
        let (mut connection, driver) = self.open().await?;
        let server = match connection.send_packed_command(&redis::cmd("COMMAND")).await {
            Ok(reply) => Capabilities::read(&reply),
            Err(error) => return Err(ConnectError::Handshake(error)),
        };
        Ok(Link { connection, driver, given_up: AtomicBool::new(false), server })
    }

    async fn socket(&self) -> Result<Box<dyn Socket>, ConnectError> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream =
                    TcpStream::connect((host.as_str(), *port)).await.map_err(ConnectError::Socket)?;
                stream.set_nodelay(true).map_err(ConnectError::Socket)?;
                Ok(Box::new(stream))
            }
            ConnectionAddr::Unix(path) => {
                Ok(Box::new(UnixStream::connect(path).await.map_err(ConnectError::Socket)?))
            }
            _ => Err(ConnectError::Address),
        }
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// One shared connection.
#[derive(Debug)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    driver: Driver,
    given_up: AtomicBool,
    server: Capabilities,
}

/// The task that moves bytes; it ends by itself when Redis closes the connection.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// What the server at the other end can do.
    pub(crate) fn server(&self) -> &Capabilities {
        &self.server
    }

    fn is_usable(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed) && !self.driver.0.is_finished()
    }

    /// Takes the connection out of use. A server that left one request unanswered for so long answers none behind it.
    fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.driver.0.abort();
    }

    /// Sends the commands in one go, nothing between them, and returns a reply for each (errors among them).
    ///
    /// Cancelling does not unsend: the commands are carried out, their replies dropped.
    pub(crate) async fn run(&self, commands: &[Wire]) -> Result<Vec<Value>, BackendError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for parts in commands {
            let mut command = Cmd::with_capacity(parts.len(), parts.iter().map(Vec::len).sum());
            for part in parts {
                command.arg(part.as_slice());
            }
            pipeline.add_command(command);
        }
        let replies = self.connection.clone().send_packed_commands(&pipeline, 0, commands.len()).await;
        match replies {
            Ok(replies) => {
                if replies.iter().any(is_read_only_error) {
                    // A failover left us with a replica; the name may lead to the new primary.
                    self.given_up.store(true, Ordering::Relaxed);
                }
                Ok(replies)
            }
            Err(error) => {
                self.give_up();
                Err(if error.is_timeout() { BackendError::Silent(error) } else { BackendError::Lost(error) })
            }
        }
    }
}

fn is_read_only_error(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.code() == "READONLY")
}

/// An error reply as Redis wrote it.
pub(crate) fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The results of a transaction, from the replies to `MULTI`, each queued command and `EXEC`; `Err` is the reason why
/// it was discarded, the first command's rather than the general one of `EXEC`.
pub(crate) fn transaction_results(mut replies: Vec<Value>) -> Result<Vec<Value>, String> {
    let outcome = replies.pop();
    if let Some(Value::ServerError(error)) =
        replies.iter().find(|reply| matches!(reply, Value::ServerError(_)))
    {
        return Err(error_text(error));
    }
    match outcome {
        Some(Value::Array(results)) => Ok(results),
        Some(Value::ServerError(error)) => Err(error_text(&error)),
        _ => Err(missing()),
    }
}

/// The error for replies that are not what the protocol promises.
pub(crate) fn missing() -> String {
    "ERR Redis sent an answer that does not fit the commands".to_owned()
}

/// The server's own list of its commands. Empty when it does not tell (a restrictive ACL).
#[derive(Debug, Default)]
pub(crate) struct Capabilities {
    commands: HashMap<String, Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    reads_only: bool,
    writes: bool,
    dangerous: bool,
}

impl Capabilities {
    /// Reads the reply to `COMMAND`: of each command the name, the arity, the flags, three key positions and the ACL
    /// categories.
    fn read(reply: &Value) -> Self {
        let commands = items(reply).iter().filter_map(|command| {
            let fields = items(command);
            let name = text(fields.first()?)?.to_uppercase();
            let has = |index: usize, word: &str| {
                fields
                    .get(index)
                    .is_some_and(|list| items(list).iter().any(|flag| text(flag).as_deref() == Some(word)))
            };
            let flags = Flags {
                reads_only: has(2, "readonly"),
                writes: has(2, "write"),
                dangerous: has(6, "@dangerous"),
            };
            Some((name, flags))
        });
        Self { commands: commands.collect() }
    }

    /// Whether the server has this command; everything is thought possible of a server that does not tell.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.commands.is_empty() || self.commands.contains_key(name)
    }

    /// Whether the server itself has `SET … IFEQ`, `DELEX` and `DIGEST` (Redis 8.4 brought all three).
    pub(crate) fn has_conditions(&self) -> bool {
        self.commands.contains_key("DELEX") && self.commands.contains_key("DIGEST")
    }

    pub(crate) fn reads_only(&self, name: &str) -> bool {
        self.commands.get(name).is_some_and(|flags| flags.reads_only)
    }

    pub(crate) fn writes(&self, name: &str) -> bool {
        self.commands.get(name).map_or(self.commands.is_empty(), |flags| flags.writes)
    }

    pub(crate) fn is_dangerous(&self, name: &str) -> bool {
        self.commands.get(name).is_none_or(|flags| flags.dangerous)
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::Capabilities;

    fn command(name: &str, flags: &[&str], categories: &[&str]) -> Value {
        let words = |words: &[&str]| {
            Value::Array(words.iter().map(|w| Value::SimpleString((*w).to_owned())).collect())
        };
        let name = Value::BulkString(name.into());
        let number = Value::Int(1);
        Value::Array(vec![
            name,
            number.clone(),
            words(flags),
            number.clone(),
            number.clone(),
            number,
            words(categories),
        ])
    }

    #[test]
    fn backend_reads_the_commands_that_the_server_lists() {
        let get = command("get", &["readonly", "fast"], &["@read"]);
        let keys = command("keys", &["readonly"], &["@read", "@dangerous"]);
        let delex = command("delex", &["write"], &["@write"]);
        let digest = command("digest", &["readonly"], &["@read"]);

        let without = Capabilities::read(&Value::Array(vec![get.clone(), keys.clone()]));
        assert!(without.knows("GET") && without.reads_only("GET") && !without.writes("GET"));
        assert!(without.is_dangerous("KEYS") && !without.is_dangerous("GET"));
        assert!(!without.knows("DELEX") && !without.has_conditions());

        let with = Capabilities::read(&Value::Array(vec![get, keys, delex, digest]));
        assert!(with.has_conditions() && with.writes("DELEX"));
    }

    #[test]
    fn backend_treats_every_command_as_a_write_when_the_server_lists_none() {
        let silent = Capabilities::read(&Value::Nil);
        assert!(
            silent.knows("GET")
                && silent.writes("GET")
                && !silent.reads_only("GET")
                && !silent.has_conditions()
        );
    }
}
