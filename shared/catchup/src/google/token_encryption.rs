//! Encryption of OAuth tokens at rest, as the running application does it.
//!
//! Stored form: base64 of IV (16 bytes) ‖ tag (16) ‖ ciphertext; AES-256-GCM without associated data.

use std::fmt;
use std::str::FromStr;

use aes_gcm::aead::consts::U16;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInOut, AesGcm, KeyInit, Nonce, Tag};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::hex_key;

const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Encrypts and decrypts stored tokens with one key (`ENCRYPTION_KEY`, 64 hexadecimal digits).
#[derive(Clone)]
pub struct TokenCipher(AesGcm<Aes256, U16>);

/// A stored token cannot be read, or a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not 64 hexadecimal digits.
    #[error("key is not 64 hexadecimal digits")]
    Key,
    /// Not base64 of at least an IV and a tag.
    #[error("stored token is malformed")]
    Form,
    /// Encrypted with another key, or damaged.
    #[error("stored token cannot be decrypted with this key")]
    Mismatch,
}

impl FromStr for TokenCipher {
    type Err = Error;

    fn from_str(hex: &str) -> Result<Self, Error> {
        let key = hex_key::read(hex).ok_or(Error::Key)?;
        Ok(Self(AesGcm::new(&key.into())))
    }
}

impl TokenCipher {
    /// The stored form of a token, under a random IV.
    ///
    /// # Panics
    /// If the token is longer than 64 GB.
    #[must_use]
    pub fn encrypt(&self, token: &SecretString) -> String {
        let iv: [u8; IV_BYTES] = rand::random();
        let mut text = token.expose_secret().as_bytes().to_vec();
        let tag = self
            .0
            .encrypt_inout_detached(&Nonce::from(iv), b"", text.as_mut_slice().into())
            .expect("a token is shorter than 64 GB");
        let mut stored = Vec::with_capacity(IV_BYTES + TAG_BYTES + text.len());
        stored.extend_from_slice(&iv);
        stored.extend_from_slice(&tag);
        stored.extend_from_slice(&text);
        BASE64_STANDARD.encode(stored)
    }

    /// The token behind a stored form.
    pub fn decrypt(&self, stored: &str) -> Result<SecretString, Error> {
        let stored = BASE64_STANDARD.decode(stored).map_err(|_| Error::Form)?;
        let (iv, rest) = stored.split_first_chunk::<IV_BYTES>().ok_or(Error::Form)?;
        let (tag, text) = rest.split_first_chunk::<TAG_BYTES>().ok_or(Error::Form)?;
        let mut text = text.to_vec();
        self.0
            .decrypt_inout_detached(&Nonce::from(*iv), b"", text.as_mut_slice().into(), &Tag::from(*tag))
            .map_err(|_| Error::Mismatch)?;
        String::from_utf8(text).map(SecretString::from).map_err(|_| Error::Mismatch)
    }
}

impl fmt::Debug for TokenCipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenCipher")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        key_hex: String,
        plaintext: String,
        stored_base64: String,
    }

    const KEY: &str = "92e9be51b8211d09e6956a9f8734161cd26220dafa58061e1659442d4bc841fd";

    #[test]
    fn what_the_application_stored_is_read() {
        let fixture: Fixture =
            serde_json::from_str(include_str!("../../../../tests/fixtures/token-encryption.json")).unwrap();
        assert!(!fixture.vectors.is_empty());
        for vector in fixture.vectors {
            let cipher: TokenCipher = vector.key_hex.parse().unwrap();
            assert_eq!(cipher.decrypt(&vector.stored_base64).unwrap().expose_secret(), vector.plaintext);
        }
    }

    #[test]
    fn a_malformed_key_is_refused() {
        for key in ["", "92", &KEY[..63], &format!("{KEY}0"), &KEY.replace('9', "g"), &"é".repeat(32)] {
            assert_eq!(key.parse::<TokenCipher>().unwrap_err(), Error::Key, "{key}");
        }
        assert!(KEY.to_uppercase().parse::<TokenCipher>().is_ok());
    }

    #[test]
    fn a_damaged_or_foreign_token_is_refused() {
        let cipher: TokenCipher = KEY.parse().unwrap();
        let stored = BASE64_STANDARD.decode(cipher.encrypt(&"secret".into())).unwrap();
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 1;
            let damaged = BASE64_STANDARD.encode(damaged);
            assert_eq!(cipher.decrypt(&damaged).unwrap_err(), Error::Mismatch, "byte {at}");
        }
        for short in ["", "!", "AAAA"] {
            assert_eq!(cipher.decrypt(short).unwrap_err(), Error::Form, "{short}");
        }
        let other: TokenCipher = KEY.replace('9', "8").parse().unwrap();
        assert_eq!(other.decrypt(&BASE64_STANDARD.encode(stored)).unwrap_err(), Error::Mismatch);
    }

    proptest! {
        #[test]
        fn encryption_round_trips_and_never_gives_the_same_text(token in ".{0,200}") {
            let cipher: TokenCipher = KEY.parse().unwrap();
            let token = SecretString::from(token);
            let stored = cipher.encrypt(&token);
            let decrypted = cipher.decrypt(&stored).unwrap();
            prop_assert_eq!(decrypted.expose_secret(), token.expose_secret());
            prop_assert_ne!(cipher.encrypt(&token), stored);
        }
    }
}
