//! What became of a message at its provider; each provider's client classifies the replies.

use std::time::Duration;

use shared::failure::BoxError;

/// The provider's name for a message that it took, or why there is none.
pub(super) type SendResult = Result<String, SendError>;

/// What a provider made of one message that it did not say it took.
#[derive(Debug)]
pub(super) enum SendError {
    /// It will never take it for this recipient; its code for the reason.
    Refused(String),
    /// It will not, as the recipient has left; its code for that.
    OptedOut(String),
    /// It did not take it, and will not for that time.
    Limited(Duration),
    /// It certainly did not take it, for a reason that may pass or be put right.
    NotTaken(ProviderError),
    /// It is unknown whether it took it.
    Unknown(ProviderError),
}

/// Why a provider gave no answer about the recipient. Carries no text of the provider's, which may quote an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// No connection.
    #[error("provider cannot be reached")]
    Unreachable(#[source] BoxError),
    /// No answer in time.
    #[error("provider did not answer in time")]
    Timeout,
    /// The connection broke before the answer came.
    #[error("answer of the provider broke off")]
    Broken(#[source] BoxError),
    /// The provider is out of order: the status or code that it answered with.
    #[error("provider answers {0}")]
    Unavailable(u16),
    /// The provider refuses the application, for any recipient: its account, its sender, its request.
    #[error("provider refuses the application: {status} {code}")]
    Refused {
        /// The status or code of the answer.
        status: u16,
        /// The provider's code for the reason, if it has one.
        code: String,
    },
    /// An answer that is not of the provider's protocol.
    #[error("answer of the provider cannot be read")]
    Garbage,
}
