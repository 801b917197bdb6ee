//! Tokens that were accepted: Cloud Tasks shows the same one with many tasks, and a signature costs more than all else that
//! is done for a small task.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// More callers than there are have no more tokens at the same time.
const MAX_TOKENS: usize = 256;

/// Stands for a token: who can make a token with the digest of another one can also forge its signature.
pub(super) type Digest = [u8; SHA256_OUTPUT_LEN];

/// Digests of accepted tokens, and when each expires, in seconds since 1970.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<Digest, i64>>);

impl Verified {
    pub(super) fn digest(token: &str) -> Digest {
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        bytes
    }

    /// Whether the token was accepted and has not expired.
    pub(super) fn contains(&self, digest: &Digest, now: i64) -> bool {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(digest).is_some_and(|expires| now < *expires)
    }

    /// Remembers an accepted token.
    pub(super) fn insert(&self, digest: Digest, expires: i64, now: i64) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, expires| now < *expires);
        }
        if tokens.len() < MAX_TOKENS {
            tokens.insert(digest, expires);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_until_it_expires_and_no_other_one_with_it() {
        let verified = Verified::default();
        verified.insert(Verified::digest("a"), 100, 0);
        assert!(verified.contains(&Verified::digest("a"), 99));
        assert!(!verified.contains(&Verified::digest("a"), 100));
        assert!(!verified.contains(&Verified::digest("b"), 0));
    }

    #[test]
    fn memory_is_bounded_and_expired_tokens_make_room() {
        let verified = Verified::default();
        for n in 0..3 * MAX_TOKENS {
            verified.insert(Verified::digest(&n.to_string()), 100, 0);
        }
        assert_eq!(verified.0.lock().unwrap().len(), MAX_TOKENS);
        verified.insert(Verified::digest("new"), 300, 200);
        assert!(verified.contains(&Verified::digest("new"), 200));
        assert_eq!(verified.0.lock().unwrap().len(), 1);
    }
}
