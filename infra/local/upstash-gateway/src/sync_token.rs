//! `Upstash-Sync-Token`: names the last write that this gateway has carried out.
//!
//! Clients echo it to read their own writes from a replica. Here all commands go to one server, so a token only has to
//! be new after each write; what clients send is not looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// The header's name.
pub(crate) const HEADER: &str = "upstash-sync-token";

/// Hands out tokens that differ between processes and between writes.
#[derive(Debug)]
pub(crate) struct SyncTokens {
    process: Uuid,
    writes: AtomicU64,
}

impl SyncTokens {
    pub(crate) fn new() -> Self {
        Self { process: Uuid::new_v4(), writes: AtomicU64::new(0) }
    }

    /// The token after a request; a new one if the request wrote.
    pub(crate) fn after(&self, wrote: bool) -> String {
        let writes = self.writes.fetch_add(u64::from(wrote), Ordering::Relaxed) + u64::from(wrote);
        let mut bytes = self.process.as_bytes().to_vec();
        bytes.extend(writes.to_be_bytes());
        STANDARD.encode(bytes)
    }
}
