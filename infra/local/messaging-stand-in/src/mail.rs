//! What an e-mail says, from its bytes (RFC 5322, MIME).

use mail_parser::{MessageParser, MimeHeaders as _, PartType};

/// As much of an e-mail as the inbox keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) id: Option<String>,
    pub(crate) from: String,
    pub(crate) subject: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) html: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

/// Reads an e-mail; `None` if it is none, or lacks a header that RFC 5322 requires: `Date` and `From`.
pub(crate) fn read(bytes: &[u8]) -> Option<Mail> {
    let message = MessageParser::default().parse(bytes)?;
    message.date()?;
    let from = message.from()?.first()?.address()?.to_owned();
    let (id, subject) = (message.message_id().map(str::to_owned), message.subject().map(str::to_owned));
    // Only those of the e-mail itself, unfolded.
    let header = |(name, value): (&str, &str)| {
        (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let headers = message.headers_raw().map(header).collect();
    let mut mail = Mail { id, from, subject, text: None, html: None, headers };
    for part in message.parts.iter().filter(|part| part.attachment_name().is_none()) {
        match &part.body {
            PartType::Text(text) => {
                mail.text.get_or_insert_with(|| text.clone().into_owned());
            }
            PartType::Html(html) => {
                mail.html.get_or_insert_with(|| html.clone().into_owned());
            }
            PartType::Binary(_)
            | PartType::InlineBinary(_)
            | PartType::Message(_)
            | PartType::Multipart(_) => {}
        }
    }
    Some(mail)
}
