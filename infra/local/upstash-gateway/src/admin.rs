//! `/__admin`: faults on demand over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::BackendError;
use crate::units::{parse_duration, parse_share};
use crate::unkindness::Unkindness;

/// The first segment of the path.
pub(crate) const PATH: &[u8] = b"__admin";

/// One fault to cause.
#[derive(Debug, PartialEq)]
pub(crate) enum AdminCommand {
    LoseWrites(Duration),
    Evict { share: f64, pattern: String },
    Flush,
}

impl AdminCommand {
    /// Reads what follows [`PATH`].
    pub(crate) fn read(segments: &[Vec<u8>]) -> Option<Self> {
        let words: Option<Vec<_>> =
            segments.iter().map(|segment| std::str::from_utf8(segment).ok()).collect();
        match words?.as_slice() {
            ["lose-writes", age] => Some(Self::LoseWrites(parse_duration(age).ok()?)),
            ["evict", share] => Self::evict(share, "*"),
            ["evict", share, pattern] => Self::evict(share, pattern),
            ["flush"] => Some(Self::Flush),
            _ => None,
        }
    }

    fn evict(share: &str, pattern: &str) -> Option<Self> {
        Some(Self::Evict { share: parse_share(share).ok()?, pattern: pattern.to_owned() })
    }

    /// Causes the fault; the result to answer with.
    pub(crate) async fn apply(self, unkindness: &Unkindness) -> Result<Value, BackendError> {
        Ok(match self {
            Self::LoseWrites(age) => json!(unkindness.lose_writes(age).await?),
            Self::Evict { share, pattern } => json!(unkindness.evict(&pattern, share).await?),
            Self::Flush => {
                unkindness.flush().await?;
                json!("OK")
            }
        })
    }
}
