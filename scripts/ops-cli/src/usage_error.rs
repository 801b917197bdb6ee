//! Calls that cannot succeed, whatever the cloud looks like: they end with exit code 2, as clap's own complaints do.

use std::fmt;

/// The call names something that does not exist.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
