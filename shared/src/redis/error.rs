//! How a call to Redis fails.

use crate::http;

/// Longest excerpt of a refusal.
const MAX_REFUSAL_CHARS: usize = 120;

/// A command got no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke, twice in a row. The command may have been carried out.
    #[error("redis cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in time. The command may have been carried out.
    #[error("redis did not answer in time")]
    Timeout,
    /// The token is wrong.
    #[error("redis refused the token")]
    Unauthorized,
    /// Redis refused the command and said why; arguments are cut from what it said.
    #[error("redis refused the command: {0}")]
    Refused(String),
    /// Another HTTP status than the protocol knows, such as 429 or 502.
    #[error("redis answered with status {0}")]
    Status(u16),
    /// An answer that is not of the protocol.
    #[error("redis answered with something else")]
    Garbage,
    /// An answer longer than this client reads.
    #[error("redis answered with too much")]
    TooLarge,
    /// Redis has been failing and is left alone for some seconds; nothing was sent.
    #[error("redis has been failing and is left alone")]
    Resting,
}

impl Error {
    /// Whether Redis is of no use at present, as opposed to one command that it would not or could not run.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Unauthorized
            | Self::Status(_)
            | Self::Garbage
            | Self::Resting => true,
            Self::Refused(_) | Self::TooLarge => false,
        }
    }

    /// Some refusals quote the command's arguments; that part is left out.
    pub(super) fn refused(text: &str) -> Self {
        let text = text.split(", with args beginning with").next().unwrap_or_default();
        Self::Refused(text.chars().take(MAX_REFUSAL_CHARS).collect())
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Unreachable(error.without_url()) }
    }
}

impl From<http::Error> for Error {
    fn from(error: http::Error) -> Self {
        match error {
            http::Error::Broken(error) => error.into(),
            http::Error::TooLarge(_) => Self::TooLarge,
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
}
