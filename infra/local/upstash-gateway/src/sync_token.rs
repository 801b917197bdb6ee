//! `Upstash-Sync-Token`: names a position in the sequence of this gateway's writes.
//!
//! Clients echo it to read their own writes from a replica. A token has to be new after each write; what clients send
//! is looked at only where replica lag is configured (see [`crate::Unkindness`]).

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

    /// The position after a request; a new one if the request wrote.
    pub(crate) fn position_after(&self, wrote: bool) -> u64 {
        self.writes.fetch_add(u64::from(wrote), Ordering::Relaxed) + u64::from(wrote)
    }

    /// The token that names a position.
    pub(crate) fn token(&self, position: u64) -> String {
        let mut bytes = self.process.as_bytes().to_vec();
        bytes.extend(position.to_be_bytes());
        STANDARD.encode(bytes)
    }

    /// The position that a token of this process names.
    pub(crate) fn position(&self, token: &[u8]) -> Option<u64> {
        let bytes = STANDARD.decode(token).ok()?;
        let position = bytes.strip_prefix(self.process.as_bytes())?;
        Some(u64::from_be_bytes(position.try_into().ok()?))
    }
}
