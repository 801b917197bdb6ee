//! Google: the users' OAuth tokens, and clients of Calendar and People that can only read, but for push channels.

#[cfg(feature = "calendar")]
pub mod calendar;
#[cfg(feature = "google-apis")]
mod error;
#[cfg(feature = "google-apis")]
mod gate;
mod notices;
#[cfg(feature = "google-apis")]
mod page;
#[cfg(feature = "people")]
pub mod people;
mod refusals;
mod scope;
#[cfg(feature = "google-apis")]
mod session;
mod token_encryption;
mod token_endpoint;
mod tokens;
#[cfg(feature = "google-apis")]
mod transport;
#[cfg(feature = "google-apis")]
mod wait;

#[cfg(feature = "calendar")]
pub use calendar::Calendar;
#[cfg(feature = "google-apis")]
pub use error::{Error, PUSH_NOT_SUPPORTED};
#[cfg(feature = "google-apis")]
pub use gate::{Calls, Disconnected, Gate, Stop};
#[cfg(feature = "google-apis")]
pub use page::{Next, Page};
#[cfg(feature = "people")]
pub use people::People;
#[cfg(feature = "google-apis")]
pub use session::Session;
pub use token_encryption::{Error as EncryptionError, TokenCipher};
pub use tokens::{TokenError, Tokens};
#[cfg(feature = "google-apis")]
pub use transport::MAX_ANSWER_BYTES;

/// The endpoint of all APIs when it is not Google's; its text ends with a slash.
#[cfg(feature = "google-apis")]
fn api_url(config: &mut shared::config::Config) -> Result<Option<url::Url>, shared::config::InvalidConfig> {
    use crate::variables::GOOGLE_API_URL;
    match config.optional::<url::Url>(&GOOGLE_API_URL)? {
        Some(url) if !shared::http::is_safe_for_credentials(&url) => {
            Err(config.problem(&GOOGLE_API_URL, "is neither https nor on loopback"))
        }
        Some(url) if url.path() != "/" => Err(config.problem(&GOOGLE_API_URL, "has a path")),
        url => Ok(url),
    }
}
