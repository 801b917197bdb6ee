//! Page tokens and sync tokens: opaque to callers, complete for us. Nothing is remembered for a token; it says itself
//! where a list continues or since when changes are wanted, and for which parameters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes a token.
pub(crate) fn seal(content: &impl Serialize) -> String {
    let text = serde_json::to_vec(content).expect("a token's content is plain data");
    URL_SAFE_NO_PAD.encode(text)
}

/// Reads a token; `None` when it is none of ours or of another kind.
pub(crate) fn open<T: DeserializeOwned>(token: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}
