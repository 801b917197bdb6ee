//! The links of an e-mail, as its reader finds them.

use catchup::links::{Link, Links, TOKEN};
use messaging_stand_in::Message;

/// A link that acts, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) link: Link,
    pub(crate) url: String,
}

/// The links of a mail that lead to `webhooks`, those of its headers included.
pub(crate) fn found(message: &Message, webhooks: &str, links: &Links) -> Vec<Found> {
    let headers = message.headers.iter().map(|(_, value)| value.as_str());
    let texts = headers.chain(message.html.as_deref());
    let urls = texts.flat_map(|text| text.match_indices(webhooks).map(move |(at, _)| &text[at..]));
    let mut all: Vec<Found> = Vec::new();
    for url in urls.map(|text| text.split(['"', '>', '<', ' ']).next().unwrap_or(text)) {
        let token = url.split_once(&format!("?{TOKEN}="));
        let Some(link) = token.and_then(|(_, token)| links.read(token)) else { continue };
        let found = Found { link, url: url.to_owned() };
        if !all.contains(&found) {
            all.push(found);
        }
    }
    all
}
