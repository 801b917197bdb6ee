//! SHA-256 digests, as OCI writes them.

use std::fmt::{self, Display, Write as _};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "sha256:";

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest(String);

impl Digest {
    /// That of `content`.
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut text = ALGORITHM.to_owned();
        for byte in Sha256::digest(content) {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Self(text)
    }

    /// Without its algorithm.
    pub(crate) fn hex(&self) -> anyhow::Result<&str> {
        self.0.strip_prefix(ALGORITHM).with_context(|| format!("{self} is not SHA-256"))
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
