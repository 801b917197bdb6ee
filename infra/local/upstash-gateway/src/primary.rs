//! Redis as the one primary of an imagined cluster.
//!
//! Where writes are remembered, the keys of each are saved before it. What they held is what a replica that lags behind
//! still has. A read that a replica may answer runs between putting those values back and restoring the newest ones, in
//! one transaction, so that no other client sees them: this holds for every command that reads.

use redis::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Duration, Instant};

use crate::backend::{Backend, BackendError, Link, Wire, transaction_results, words};
use crate::journal::{Image, Images, Journal, Stored};
use crate::sync_token::SyncTokens;

/// How long writes are remembered, and for what.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Reads see the state of this long ago.
    pub(crate) replica_lag: Duration,
    /// Writes can be undone for this long.
    pub(crate) undo_window: Duration,
}

impl Memory {
    fn span(self) -> Duration {
        self.replica_lag.max(self.undo_window)
    }

    pub(crate) fn is_off(self) -> bool {
        self.span().is_zero()
    }
}

/// Which state of Redis a request is for.
#[derive(Debug)]
pub(crate) enum Target {
    /// Any: it only reads.
    Replica,
    /// The newest, without writing.
    Primary,
    /// A new one. The commands that write; they are looked at only where writes are remembered.
    Write(Vec<Wire>),
}

/// Runs requests, and counts and remembers writes.
#[derive(Debug)]
pub(crate) struct Primary {
    backend: Backend,
    sync_tokens: SyncTokens,
    journal: Mutex<Journal>,
}

impl Primary {
    pub(crate) fn new(backend: Backend) -> Self {
        Self { backend, sync_tokens: SyncTokens::new(), journal: Mutex::default() }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn sync_tokens(&self) -> &SyncTokens {
        &self.sync_tokens
    }

    /// Sends the commands in one go. Their replies, and the position of the state that they saw or made.
    pub(crate) async fn run(
        &self,
        link: &Link,
        wires: &[Wire],
        target: Target,
        memory: Memory,
        sync_token: Option<&[u8]>,
    ) -> Result<(Vec<Value>, u64), BackendError> {
        if memory.is_off() {
            let replies = link.run(wires).await?;
            return Ok((replies, self.sync_tokens.position_after(matches!(target, Target::Write(_)))));
        }
        let mut journal = self.journal().await;
        match target {
            Target::Write(writes) => {
                let before = images(link, &keys(link, &writes).await?).await?;
                let position = self.sync_tokens.position_after(true);
                // Before the write, because its reply may never come.
                journal.record(position, Instant::now(), before, memory.span());
                Ok((link.run(wires).await?, position))
            }
            Target::Replica if !memory.replica_lag.is_zero() => {
                let seen = sync_token.and_then(|token| self.sync_tokens.position(token)).unwrap_or(0);
                if let Some(lagging) = journal.position_before(Instant::now(), memory.replica_lag) {
                    let position = lagging.max(seen);
                    if let Some(replies) = run_at(link, &journal.images_at(position), wires).await? {
                        return Ok((replies, position));
                    }
                }
                self.run_newest(link, wires).await
            }
            Target::Replica | Target::Primary => self.run_newest(link, wires).await,
        }
    }

    async fn run_newest(&self, link: &Link, wires: &[Wire]) -> Result<(Vec<Value>, u64), BackendError> {
        Ok((link.run(wires).await?, self.sync_tokens.position_after(false)))
    }

    /// Undoes the writes that are younger; the number of keys restored.
    pub(crate) async fn lose_writes(&self, link: &Link, age: Duration) -> Result<usize, BackendError> {
        let mut journal = self.journal().await;
        let Some(position) = journal.position_before(Instant::now(), age) else { return Ok(0) };
        let images = journal.images_at(position);
        let mut wires = vec![words(["MULTI"])];
        wires.extend(restore(&images));
        wires.push(words(["EXEC"]));
        ask(link, &wires).await?;
        journal.truncate(position, self.sync_tokens.position_after(true));
        Ok(images.len())
    }

    /// Removes a random share of the keys that match the pattern; the number of keys removed.
    pub(crate) async fn evict(
        &self,
        link: &Link,
        pattern: &str,
        share: f64,
        memory: Memory,
    ) -> Result<usize, BackendError> {
        let mut keys = byte_strings(&ask(link, &[words(["KEYS", pattern])]).await?[0]);
        keys.retain(|_| rand::random::<f64>() < share);
        let evicted = keys.len();
        self.delete(link, keys, memory).await?;
        Ok(evicted)
    }

    /// Removes a random key, if there is one.
    pub(crate) async fn evict_any(&self, link: &Link, memory: Memory) -> Result<(), BackendError> {
        let key = ask(link, &[words(["RANDOMKEY"])]).await?;
        self.delete(link, key.iter().filter_map(byte_string).collect(), memory).await
    }

    /// Removes all keys and all cached scripts.
    pub(crate) async fn flush(&self, link: &Link, memory: Memory) -> Result<(), BackendError> {
        self.change(link, &[words(["FLUSHDB"]), words(["SCRIPT", "FLUSH"])], memory).await
    }

    async fn delete(&self, link: &Link, keys: Vec<Vec<u8>>, memory: Memory) -> Result<(), BackendError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.change(link, &[[words(["DEL"]), keys].concat()], memory).await
    }

    /// Runs writes of our own.
    async fn change(&self, link: &Link, wires: &[Wire], memory: Memory) -> Result<(), BackendError> {
        let (replies, _) = self.run(link, wires, Target::Write(wires.to_vec()), memory, None).await?;
        accepted(replies)?;
        Ok(())
    }

    /// The journal, emptied if it missed a write.
    async fn journal(&self) -> MutexGuard<'_, Journal> {
        let mut journal = self.journal.lock().await;
        journal.resume_at(self.sync_tokens.position_after(false));
        journal
    }
}

/// The replies to commands that see these keys as they were; `None` where Redis does not queue one of them.
async fn run_at(link: &Link, old: &Images, wires: &[Wire]) -> Result<Option<Vec<Value>>, BackendError> {
    let newest = images(link, &old.keys().cloned().collect::<Vec<_>>()).await?;
    let mut all = vec![words(["MULTI"])];
    all.extend(restore(old));
    all.extend_from_slice(wires);
    all.extend(restore(&newest));
    all.push(words(["EXEC"]));
    let results = transaction_results(link.run(&all).await?).ok();
    Ok(results.map(|results| results.into_iter().skip(old.len()).take(wires.len()).collect()))
}

/// The keys that commands name. One that names none (`FLUSHDB`, a script without keys) may change any.
async fn keys(link: &Link, commands: &[Wire]) -> Result<Vec<Vec<u8>>, BackendError> {
    let questions: Vec<_> =
        commands.iter().map(|command| [&words(["COMMAND", "GETKEYS"])[..], command].concat()).collect();
    let replies = link.run(&questions).await?;
    if replies.iter().all(|reply| matches!(reply, Value::Array(_))) {
        Ok(replies.iter().flat_map(byte_strings).collect())
    } else {
        Ok(byte_strings(&ask(link, &[words(["KEYS", "*"])]).await?[0]))
    }
}

/// What the keys hold.
async fn images(link: &Link, keys: &[Vec<u8>]) -> Result<Images, BackendError> {
    let questions: Vec<_> = keys
        .iter()
        .flat_map(|key| ["DUMP", "PEXPIRETIME"].map(|name| vec![name.into(), key.clone()]))
        .collect();
    let replies = ask(link, &questions).await?;
    Ok(keys.iter().cloned().zip(replies.chunks(2).map(image)).collect())
}

fn image(replies: &[Value]) -> Image {
    match replies {
        [Value::BulkString(dump), Value::Int(expires_at_ms)] => {
            Some(Stored { dump: dump.clone(), expires_at_ms: (*expires_at_ms).max(0) })
        }
        _ => None,
    }
}

/// One command for each key.
fn restore(images: &Images) -> impl Iterator<Item = Wire> {
    images.iter().map(|(key, image)| match image {
        Some(Stored { dump, expires_at_ms }) => vec![
            b"RESTORE".to_vec(),
            key.clone(),
            expires_at_ms.to_string().into_bytes(),
            dump.clone(),
            b"REPLACE".to_vec(),
            b"ABSTTL".to_vec(),
        ],
        None => vec![b"DEL".to_vec(), key.clone()],
    })
}

/// Sends commands of our own.
async fn ask(link: &Link, commands: &[Wire]) -> Result<Vec<Value>, BackendError> {
    accepted(link.run(commands).await?)
}

/// The replies, if Redis refused none of the commands.
fn accepted(replies: Vec<Value>) -> Result<Vec<Value>, BackendError> {
    replies.into_iter().map(|reply| reply.extract_error().map_err(BackendError::Refused)).collect()
}

fn byte_strings(reply: &Value) -> Vec<Vec<u8>> {
    match reply {
        Value::Array(items) => items.iter().filter_map(byte_string).collect(),
        _ => Vec::new(),
    }
}

fn byte_string(reply: &Value) -> Option<Vec<u8>> {
    match reply {
        Value::BulkString(bytes) => Some(bytes.clone()),
        _ => None,
    }
}
