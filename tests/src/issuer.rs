//! An issuer of identity tokens, honest or not, as a test wants it.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use local_cloud::Background;
use serde_json::{Value, json};
use shared::clock::Clock;

/// Who calls, by default.
pub const CALLER: &str = "tasks@local.iam.gserviceaccount.com";

/// A key pair with its id.
pub struct Key {
    /// `kid`.
    pub id: String,
    pair: RsaKeyPair,
}

impl Key {
    /// A new pair.
    #[must_use]
    pub fn generate(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            pair: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key pair can be made"),
        }
    }

    /// The RS256 signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("the signature fits the modulus");
        signature
    }

    /// The modulus, as everybody may know it.
    #[must_use]
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().modulus().big_endian_without_leading_zero())
    }

    fn jwk(&self) -> Value {
        let exponent = self.pair.public_key().exponent().big_endian_without_leading_zero();
        json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id,
            "n": self.public(), "e": URL_SAFE_NO_PAD.encode(exponent),
        })
    }
}

/// Serves its public key on loopback and signs what it is asked to.
pub struct Issuer {
    server: Background,
    keys: Arc<Mutex<Vec<Value>>>,
    key: Mutex<Arc<Key>>,
}

impl Issuer {
    /// With one key.
    #[must_use]
    pub fn start() -> Self {
        let key = Key::generate("first");
        let keys = Arc::new(Mutex::new(vec![key.jwk()]));
        let published = Arc::clone(&keys);
        let server = Background::start("issuer", |listener| async move {
            let router = Router::new().route(
                "/jwks",
                get(move || {
                    let keys = published.lock().expect("no test panics holding it").clone();
                    async move { ([("cache-control", "public, max-age=3600")], Json(json!({ "keys": keys }))) }
                }),
            );
            axum::serve(listener, router).await
        });
        Self { server: server.expect("loopback is there"), keys, key: Mutex::new(Arc::new(key)) }
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.url())
    }

    /// The key that it signs with.
    #[must_use]
    pub fn key(&self) -> Arc<Key> {
        Arc::clone(&self.key.lock().expect("no test panics holding it"))
    }

    /// Signs with a new key from now on, and serves only that.
    pub fn rotate(&self) {
        let key = Key::generate("second");
        *self.keys.lock().expect("no test panics holding it") = vec![key.jwk()];
        *self.key.lock().expect("no test panics holding it") = Arc::new(key);
    }

    /// The claims of an honest token for `audience`.
    #[must_use]
    pub fn claims(&self, audience: &str) -> Value {
        let now = Clock::system().now().timestamp();
        json!({
            "iss": self.url(), "aud": audience, "azp": "1", "sub": "1", "email": CALLER, "email_verified": true,
            "iat": now, "exp": now + 3600,
        })
    }

    /// An honest token for `audience`.
    #[must_use]
    pub fn token(&self, audience: &str) -> String {
        let key = self.key();
        sign(&json!({ "alg": "RS256", "kid": key.id, "typ": "JWT" }), &self.claims(audience), &key)
    }
}

/// A compact JWS of any header and claims.
#[must_use]
pub fn sign(header: &Value, claims: &Value, key: &Key) -> String {
    let message = unsigned(header, claims);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The part of a compact JWS that is signed.
#[must_use]
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
