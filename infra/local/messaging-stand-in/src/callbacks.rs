//! What Twilio and `SendGrid` report of messages, signed as they sign it. A callback is a value, so that it can be delivered late,
//! twice and out of order.
//!
//! Sources: <https://www.twilio.com/docs/usage/security#validating-requests>,
//! <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::Value;
use url::form_urlencoded;

use crate::serve::Config;

/// The key of the stand-in's event webhook, which is no secret.
const SENDGRID_PRIVATE_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQga6AOGrPtChnIlViiDvnfnzP1K9vontXVf94SkIg7BcmhRANCAASyFcg+EqVcqVEnVacx0CV9xTBdo0GZNLx6S+Va2Y812rc2WBcp/JIaxAk1ad7nyYYjteMwYzOu2w9LjkdQl1oT";
/// What callers need to verify its events: `SENDGRID_WEBHOOK_PUBLIC_KEY`.
pub const SENDGRID_PUBLIC_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEshXIPhKlXKlRJ1WnMdAlfcUwXaNBmTS8ekvlWtmPNdq3NlgXKfySGsQJNWne58mGI7XjMGMzrtsPS45HUJdaEw==";

/// A request of a provider's, which is a `POST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Where it goes.
    pub url: String,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: String,
}

impl Callback {
    /// Twilio reports the fate of a text message.
    #[must_use]
    pub fn twilio_status(config: &Config, url: &str, sid: &str, status: &str, code: Option<u32>) -> Self {
        let code = code.map(|code| code.to_string());
        let fields = [
            ("AccountSid", Some(config.account_sid.as_str())),
            ("ErrorCode", code.as_deref()),
            ("MessageSid", Some(sid)),
            ("MessageStatus", Some(status)),
        ];
        Self::twilio(config, url, fields)
    }

    /// A person sends a text to the account's number.
    #[must_use]
    pub fn twilio_incoming(config: &Config, url: &str, sid: &str, from: &str, body: &str) -> Self {
        let fields = [
            ("AccountSid", Some(config.account_sid.as_str())),
            ("Body", Some(body)),
            ("From", Some(from)),
            ("MessageSid", Some(sid)),
            ("To", Some(config.phone_number.as_str())),
        ];
        Self::twilio(config, url, fields)
    }

    /// A form with these fields, in the order of their names, in which Twilio signs them.
    fn twilio<const N: usize>(config: &Config, url: &str, fields: [(&str, Option<&str>); N]) -> Self {
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let (mut signed, mut form) = (url.to_owned(), form_urlencoded::Serializer::new(String::new()));
        for (name, value) in fields {
            signed.extend([name, value]);
            form.append_pair(name, value);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, config.auth_token.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        let headers = vec![
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("x-twilio-signature", signature),
        ];
        Self { url: url.to_owned(), headers, body: form.finish() }
    }

    /// `SendGrid` reports events, signed at that time.
    ///
    /// # Panics
    /// If there is no randomness.
    #[must_use]
    pub fn sendgrid(url: &str, events: &Value, timestamp: i64) -> Self {
        let (random, body) = (SystemRandom::new(), events.to_string());
        let key = STANDARD.decode(SENDGRID_PRIVATE_KEY).expect("the key is base64");
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key, &random).expect("it is a key");
        let signature =
            key.sign(&random, format!("{timestamp}{body}").as_bytes()).expect("there is randomness");
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-twilio-email-event-webhook-signature", STANDARD.encode(signature)),
            ("x-twilio-email-event-webhook-timestamp", timestamp.to_string()),
        ];
        Self { url: url.to_owned(), headers, body }
    }
}
