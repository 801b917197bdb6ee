//! Links in messages that act for the person who got them, without a login: they lead to the service `webhooks`, which acts
//! on POST only, as mail scanners fetch every link.
//!
//! A link carries a token: what to do, a random id of ours, and an HMAC-SHA256 over both. So it cannot be guessed, and reveals
//! nothing about the person. Two keys may be valid at the same time, so that they can be rotated.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use secrecy::ExposeSecret;
use shared::config::{Config, InvalidConfig};
use shared::http::is_safe_for_credentials;
use url::Url;
use uuid::Uuid;

use crate::hex_key;
use crate::variables::{LINK_SIGNING_KEYS, WEBHOOKS_URL};

/// Where a message's list is left.
pub const UNSUBSCRIBE_PATH: &str = "/unsubscribe";
/// Where something is said about a suggestion.
pub const SUGGESTION_PATH: &str = "/suggestion";
/// Where Twilio reports what became of a text message.
pub const TWILIO_STATUS_PATH: &str = "/twilio/status";
/// The parameter that carries the token.
pub const TOKEN: &str = "t";
/// The parameter that carries our id of a message.
pub const MESSAGE: &str = "message";

const MAX_KEYS: usize = 2;
/// What is signed begins with this: no other signature of the same key can be taken for one of a link.
const PURPOSE: &[u8] = b"catchup-link-1";
const ID_BYTES: usize = 16;

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Leaves the list that a message was sent to.
    Unsubscribe {
        /// Our id of the message.
        message: Uuid,
    },
    /// The person has met, or was in touch with, whom a suggestion is about.
    WeMet {
        /// The suggestion.
        suggestion: Uuid,
    },
    /// The person may be reminded of it later.
    NotNow {
        /// The suggestion.
        suggestion: Uuid,
    },
    /// The person never wants to be reminded of whom it is about.
    Never {
        /// The suggestion.
        suggestion: Uuid,
    },
    /// The person wants to get more suggestions.
    StillUseful {
        /// The last one that the person was notified about.
        suggestion: Uuid,
    },
}

impl Link {
    /// The byte that names it, and the id.
    const fn parts(self) -> (u8, Uuid) {
        match self {
            Self::Unsubscribe { message } => (0, message),
            Self::WeMet { suggestion } => (1, suggestion),
            Self::NotNow { suggestion } => (2, suggestion),
            Self::Never { suggestion } => (3, suggestion),
            Self::StillUseful { suggestion } => (4, suggestion),
        }
    }

    fn of(name: u8, id: Uuid) -> Option<Self> {
        Some(match name {
            0 => Self::Unsubscribe { message: id },
            1 => Self::WeMet { suggestion: id },
            2 => Self::NotNow { suggestion: id },
            3 => Self::Never { suggestion: id },
            4 => Self::StillUseful { suggestion: id },
            _ => return None,
        })
    }

    /// The path that acts for it.
    const fn path(self) -> &'static str {
        match self {
            Self::Unsubscribe { .. } => UNSUBSCRIBE_PATH,
            Self::WeMet { .. } | Self::NotNow { .. } | Self::Never { .. } | Self::StillUseful { .. } => {
                SUGGESTION_PATH
            }
        }
    }
}

/// Makes links, and reads their tokens.
#[derive(Clone)]
pub struct Links {
    /// Without a slash at its end.
    base: String,
    /// The first signs.
    keys: Vec<hmac::Key>,
}

impl Links {
    /// Reads `WEBHOOKS_URL` and `LINK_SIGNING_KEYS`.
    pub fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let (base, keys) = (base(config), keys(config));
        Ok(Self { base: base?, keys: keys? })
    }

    /// The address of a link.
    #[must_use]
    pub fn url(&self, link: Link) -> String {
        format!("{}{}?{TOKEN}={}", self.base, link.path(), self.token(link))
    }

    /// Where Twilio reports what becomes of a message.
    #[must_use]
    pub fn twilio_status_url(&self, message: Uuid) -> String {
        format!("{}{TWILIO_STATUS_PATH}?{MESSAGE}={message}", self.base)
    }

    /// The address of a path of the service, as a vendor calls it.
    #[must_use]
    pub fn address(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    fn token(&self, link: Link) -> String {
        let (name, id) = link.parts();
        let mut token = vec![name];
        token.extend_from_slice(id.as_bytes());
        let tag = hmac::sign(&self.keys[0], &signed(&token));
        token.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The link of a token; `None` for one that we did not sign. Takes as long for a right tag as for a wrong one.
    #[must_use]
    pub fn read(&self, token: &str) -> Option<Link> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (message, tag) = token.split_at_checked(1 + ID_BYTES)?;
        let is_ours = |key| hmac::verify(key, &signed(message), tag).is_ok();
        if !self.keys.iter().any(is_ours) {
            return None;
        }
        Link::of(message[0], Uuid::from_slice(&message[1..]).ok()?)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Links({})", self.base)
    }
}

fn signed(message: &[u8]) -> Vec<u8> {
    [PURPOSE, message].concat()
}

fn base(config: &mut Config) -> Result<String, InvalidConfig> {
    let url = config.required::<Url>(&WEBHOOKS_URL)?;
    if !is_safe_for_credentials(&url) {
        return Err(config.problem(&WEBHOOKS_URL, "is neither https nor on loopback"));
    }
    if url.path() != "/" || url.query().is_some() {
        return Err(config.problem(&WEBHOOKS_URL, "has a path"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn keys(config: &mut Config) -> Result<Vec<hmac::Key>, InvalidConfig> {
    let text = config.secret(&LINK_SIGNING_KEYS)?;
    let keys: Option<Vec<_>> = text
        .expose_secret()
        .split(',')
        .map(|key| Some(hmac::Key::new(hmac::HMAC_SHA256, &hex_key::read(key.trim())?)))
        .collect();
    match keys.filter(|keys| keys.len() <= MAX_KEYS) {
        Some(keys) => Ok(keys),
        None => Err(config.problem(&LINK_SIGNING_KEYS, "is malformed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const NEW: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

    fn links(keys: &str) -> Links {
        let pairs = [("WEBHOOKS_URL", "https://hooks.catchup.example"), ("LINK_SIGNING_KEYS", keys)];
        Links::from_config(&mut Config::from_pairs(pairs)).unwrap()
    }

    fn all(id: Uuid) -> [Link; 4] {
        [
            Link::Unsubscribe { message: id },
            Link::WeMet { suggestion: id },
            Link::NotNow { suggestion: id },
            Link::Never { suggestion: id },
        ]
    }

    fn token(url: &str) -> &str {
        url.split_once("?t=").unwrap().1
    }

    #[test]
    fn token_is_read_back_and_says_nothing_about_the_person() {
        let links = links(OLD);
        for link in all(Uuid::from_u128(7)) {
            let url = links.url(link);
            assert!(url.starts_with("https://hooks.catchup.example/") && url.len() < 120, "{url}");
            assert_eq!(links.read(token(&url)), Some(link));
        }
    }

    #[test]
    fn keys_are_rotated_with_two_at_the_same_time() {
        let link = Link::Unsubscribe { message: Uuid::from_u128(7) };
        let (old, both, new) = (links(OLD), links(&format!("{NEW}, {OLD}")), links(NEW));
        let (by_old, by_both) = (old.url(link), both.url(link));
        assert_eq!(both.read(token(&by_old)), Some(link), "what was sent before still works");
        assert_eq!(new.read(token(&by_both)), Some(link), "the first one signs");
        assert_eq!(new.read(token(&by_old)), None);
    }

    #[test]
    fn a_changed_token_is_none_of_ours() {
        let links = links(OLD);
        let url = links.url(Link::WeMet { suggestion: Uuid::from_u128(7) });
        let bytes = URL_SAFE_NO_PAD.decode(token(&url)).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(changed)), None, "byte {place}");
        }
        for end in 0..bytes.len() {
            assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(&bytes[..end])), None, "cut off at {end}");
        }
        assert_eq!(links.read("no token at all"), None);
    }

    #[test]
    fn what_cannot_be_used_is_reported_together() {
        for (url, keys) in [
            ("http://hooks.catchup.example", OLD.get(2..).unwrap()),
            ("https://hooks.catchup.example/path", "zz"),
            ("nowhere", ""),
        ] {
            let mut config = Config::from_pairs([("WEBHOOKS_URL", url), ("LINK_SIGNING_KEYS", keys)]);
            assert!(Links::from_config(&mut config).is_err());
            let names: Vec<_> = config.problems().into_iter().map(|problem| problem.name).collect();
            assert_eq!(names, ["WEBHOOKS_URL", "LINK_SIGNING_KEYS"], "{url}");
        }
        let three = [OLD, NEW, OLD].join(",");
        assert!(hex_key::read(&OLD[1..]).is_none());
        assert!(hex_key::read(&format!("+{}", &OLD[1..])).is_none());
        let pairs = [("WEBHOOKS_URL", "https://hooks.catchup.example"), ("LINK_SIGNING_KEYS", &three)];
        assert!(Links::from_config(&mut Config::from_pairs(pairs)).is_err());
    }

    #[test]
    fn the_debug_form_tells_no_secret() {
        assert_eq!(format!("{:?}", links(OLD)), "Links(https://hooks.catchup.example)");
    }
}
