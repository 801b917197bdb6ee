//! The links of an e-mail, as its reader finds them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use messaging_stand_in::Message;
use uuid::Uuid;

/// What the button of a link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Button {
    Unsubscribe,
    WeMet,
    NotNow,
    Never,
    StillUseful,
}

/// A link that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) button: Button,
    /// The suggestion, or the message.
    pub(crate) about: Uuid,
    pub(crate) url: String,
}

/// The links of a mail that lead to `webhooks`, those of its headers included.
pub(crate) fn links(message: &Message, webhooks: &str) -> Vec<Link> {
    let headers = message.headers.iter().map(|(_, value)| value.as_str());
    let texts = headers.chain(message.html.as_deref());
    let urls = texts.flat_map(|text| text.match_indices(webhooks).map(move |(at, _)| &text[at..]));
    let mut links: Vec<Link> = Vec::new();
    for url in urls.map(|text| text.split(['"', '>', '<', ' ']).next().unwrap_or(text)) {
        if let Some(link) = link(url).filter(|link| !links.contains(link)) {
            links.push(link);
        }
    }
    links
}

/// The token's first byte names the button, the next sixteen what it is about.
fn link(url: &str) -> Option<Link> {
    let (_, token) = url.split_once("?t=")?;
    let token = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    let (name, rest) = token.split_first()?;
    let button = match name {
        0 => Button::Unsubscribe,
        1 => Button::WeMet,
        2 => Button::NotNow,
        3 => Button::Never,
        4 => Button::StillUseful,
        _ => return None,
    };
    Some(Link { button, about: Uuid::from_slice(rest.get(..16)?).ok()?, url: url.to_owned() })
}
