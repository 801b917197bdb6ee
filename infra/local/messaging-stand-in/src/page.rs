//! The inbox as a page for people: one document, nothing loaded from anywhere, every text escaped.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::inbox::{Channel, Message};
use crate::segments::segments;
use crate::serve::App;

/// An e-mail may contain anything: it gets a frame without rights, and the page loads nothing at all.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = "
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
header { display: flex; align-items: baseline; justify-content: space-between; }
article { border: 1px solid #8886; border-radius: .5rem; margin: 1rem 0; padding: .75rem 1rem; }
h2 { font-size: 1rem; margin: 0; }
p { margin: 0; opacity: .75; font-size: .875rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; margin: .5rem 0 0; }
iframe { width: 100%; height: 22rem; border: 1px solid #8884; background: #fff; margin-top: .5rem; }
";

pub(crate) async fn show(State(app): State<App>) -> Response {
    let page = render(&app.inbox.messages());
    ([(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")], Html(page))
        .into_response()
}

fn render(messages: &[Message]) -> String {
    let articles: String = messages.iter().rev().map(article).collect();
    let count = match messages.len() {
        0 => "No message yet.".to_owned(),
        1 => "1 message".to_owned(),
        many => format!("{many} messages, the newest first"),
    };
    format!(
        "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">
<title>Inbox</title><style>{STYLE}</style></head><body>
<header><h1>Inbox</h1><form method=\"post\" action=\"/messages/clear\"><button>Clear</button></form></header>
<p>{count}</p>
{articles}</body></html>
"
    )
}

fn article(message: &Message) -> String {
    let kind = match message.channel {
        Channel::Sms => {
            let (alphabet, parts) = segments(message.text.as_deref().unwrap_or_default());
            format!("SMS, {parts} segment(s) of {alphabet:?}")
        }
        Channel::Email => format!("e-mail via {:?}", message.via),
    };
    let mut html = format!(
        "<article><h2>{}</h2><p>{kind} · to {} · from {} · {} · {}</p>",
        escaped(message.subject.as_deref().unwrap_or(&message.to)),
        escaped(&message.to),
        escaped(&message.from),
        message.received_at.format("%F %T UTC"),
        escaped(&message.provider_id),
    );
    if let Some(text) = &message.text {
        let _infallible = write!(html, "<pre>{}</pre>", escaped(text));
    }
    if let Some(body) = &message.html {
        let _infallible =
            write!(html, "<iframe sandbox title=\"HTML\" srcdoc=\"{}\"></iframe>", escaped(body));
    }
    html.push_str("</article>\n");
    html
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::Via;

    #[test]
    fn inbox_page_escapes_the_text_of_messages() {
        let attack = "</pre>\"'><script>alert(1)</script>&".to_owned();
        let message = Message {
            channel: Channel::Email,
            via: Via::SendGrid,
            to: attack.clone(),
            from: attack.clone(),
            subject: Some(attack.clone()),
            text: Some(attack.clone()),
            html: Some(attack.clone()),
            provider_id: attack,
            our_id: None,
            received_at: chrono::DateTime::UNIX_EPOCH,
        };
        let page = render(&[message]);
        assert!(!page.contains("<script>"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 6);
        assert_eq!(page.matches("</pre>").count(), 1);
    }
}
