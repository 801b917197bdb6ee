//! How a call to Redis fails.

use crate::failure::BoxError;

/// Longest excerpt of a refusal.
const MAX_REFUSAL_CHARS: usize = 120;

/// How refusals begin that concern the server and not the command.
///
/// Sources: <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>,
/// <https://upstash.com/docs/redis/troubleshooting/max_requests_limit>.
const OUT_OF_SERVICE: [&str; 9] = [
    "ERR max requests limit",
    "ERR max daily request limit",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
];

/// A command got no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made, twice in a row: nothing was sent.
    #[error("redis cannot be reached")]
    Unreachable(#[source] BoxError),
    /// The connection broke, twice in a row. The command may have been carried out.
    #[error("the connection to redis broke")]
    Broken(#[source] BoxError),
    /// No answer in time. The command may have been carried out.
    #[error("redis did not answer in time")]
    Timeout,
    /// The token is wrong.
    #[error("redis refused the token")]
    Unauthorized,
    /// Redis refused the command and said why; arguments are cut from what it said.
    #[error("redis refused the command: {0}")]
    Refused(String),
    /// The server serves no command at present: no memory, no master, or no commands left in this month.
    #[error("redis is out of service: {0}")]
    OutOfService(String),
    /// Another HTTP status than the protocol knows, such as 429 or 502.
    #[error("redis answered with status {0}")]
    Status(u16),
    /// An answer that is not of the protocol.
    #[error("unexpected response from redis")]
    Garbage,
    /// An answer longer than this client reads.
    #[error("redis response exceeds the size limit")]
    TooLarge,
    /// The circuit breaker is open for some seconds, because Redis has been failing; nothing was sent.
    #[error("redis circuit breaker is open")]
    CircuitOpen,
}

impl Error {
    /// Whether Redis is of no use at present, as opposed to one command that it would not or could not run.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Broken(_)
            | Self::Timeout
            | Self::Unauthorized
            | Self::OutOfService(_)
            | Self::Status(_)
            | Self::Garbage
            | Self::CircuitOpen => true,
            Self::Refused(_) | Self::TooLarge => false,
        }
    }

    /// Some refusals quote the command's arguments; that part is left out.
    pub(super) fn refused(text: &str) -> Self {
        let text = text.split(", with args beginning with").next().unwrap_or_default();
        let shown = text.chars().take(MAX_REFUSAL_CHARS).collect();
        if OUT_OF_SERVICE.iter().any(|begin| text.starts_with(begin)) {
            Self::OutOfService(shown)
        } else {
            Self::Refused(shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_quote_arguments() {
        let text = "ERR unknown command 'FOO', with args beginning with: 'secret' ";
        assert_eq!(Error::refused(text).to_string(), "redis refused the command: ERR unknown command 'FOO'");
    }

    #[test]
    fn a_used_up_quota_is_an_outage_and_a_wrong_command_is_none() {
        let quota = "ERR max requests limit exceeded. Limit: 500000, Usage: 500001.";
        assert!(Error::refused(quota).is_unavailable());
        assert!(!Error::refused("ERR syntax error").is_unavailable());
    }
}
