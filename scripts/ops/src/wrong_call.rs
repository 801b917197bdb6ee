//! Calls that cannot be right, whatever the cloud looks like: they end with exit code 2, as clap's own complaints do.

use std::fmt;

/// The call names something that does not exist.
#[derive(Debug)]
pub(crate) struct WrongCall(pub(crate) String);

impl fmt::Display for WrongCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for WrongCall {}
