//! The inbox as a page for people: one document, nothing loaded from anywhere, every text escaped.
//!
//! An e-mail is shown as mail programs show it: the subject, the line that lists have next to it, the HTML; and, a click
//! away, what readers without HTML get, and the headers.

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use mail_parser::decoders::html::html_to_text;

use crate::inbox::{Channel, Message};
use crate::segments::segments;
use crate::serve::App;

/// An e-mail may contain anything: it gets a frame without rights, and the page loads nothing at all.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = "
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
html { background: light-dark(#fff, #18181b); color: light-dark(#18181b, #fafafa); }
body { max-width: 52rem; margin: 0 auto; padding: .5rem; overflow-wrap: anywhere; }
header { display: flex; align-items: center; justify-content: space-between; }
button, summary { font: inherit; min-height: 44px; min-width: 44px; padding: 0 1rem; }
summary { display: flex; align-items: center; padding: 0; cursor: pointer; }
summary::before { content: '▸'; width: 1.5rem; }
details[open] > summary::before { content: '▾'; }
article { border: 1px solid #8886; border-radius: .5rem; margin: 1rem 0; padding: .75rem; }
h2 { font-size: 1.125rem; margin: 0; }
p { margin: 0; }
.quiet { color: light-dark(#555, #bbb); font-size: .875rem; }
pre { white-space: pre-wrap; font: inherit; margin: .5rem 0 0; }
.text { width: fit-content; max-width: 22rem; padding: .5rem .75rem; border-radius: 1rem; background: light-dark(#e5e7eb, #374151); }
iframe { width: 100%; box-sizing: border-box; height: 40rem; border: 1px solid #8884; margin-top: .5rem; }
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
    let body = match message.channel {
        Channel::Sms => text_message(message),
        Channel::Email => email(message),
    };
    format!(
        "<article>{body}<p class=\"quiet\">{} · {}</p></article>\n",
        message.received_at.format("%F %T UTC"),
        escaped(&message.provider_id),
    )
}

fn text_message(message: &Message) -> String {
    let text = message.text.as_deref().unwrap_or_default();
    let (alphabet, parts) = segments(text);
    format!(
        "<h2>{}</h2><pre class=\"text\">{}</pre>\
         <p class=\"quiet\">SMS from {} · {parts} segment(s) of {alphabet:?}</p>",
        escaped(&message.to),
        escaped(text),
        escaped(&message.from),
    )
}

fn email(message: &Message) -> String {
    let (html, text) = (message.html.as_deref(), message.text.as_deref());
    let shown = |text: Option<&str>, show: fn(&str) -> String| text.map(show).unwrap_or_default();
    let headers: Vec<_> = message.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let headers = headers.join("\n");
    format!(
        "<h2>{}</h2><p class=\"quiet\">{}</p><p>{} → {} <span class=\"quiet\">via {:?}</span></p>{}{}{}",
        escaped(message.subject.as_deref().unwrap_or("(no subject)")),
        escaped(&html.and_then(preheader).or_else(|| beginning(text?)).unwrap_or_default()),
        escaped(&message.from),
        escaped(&message.to),
        message.via,
        shown(html, |html| format!("<iframe sandbox title=\"HTML\" srcdoc=\"{}\"></iframe>", escaped(html))),
        shown(text, |text| folded("Plain text", text)),
        shown(Some(headers.as_str()).filter(|it| !it.is_empty()), |it| folded("Headers", it)),
    )
}

fn folded(label: &str, text: &str) -> String {
    format!("<details><summary>{label}</summary><pre>{}</pre></details>", escaped(text))
}

/// What lists of e-mails show next to the subject: the hidden text at the beginning of the HTML.
fn preheader(html: &str) -> Option<String> {
    let hidden = html.split_once("display:none")?.1.split_once('>')?.1.split_once("</")?.0;
    Some(html_to_text(hidden))
}

/// … and without one, how the text begins.
fn beginning(text: &str) -> Option<String> {
    text.lines().find(|line| !line.trim().is_empty()).map(str::to_owned)
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

    fn mail(text: &str, html: &str) -> Message {
        Message {
            channel: Channel::Email,
            via: Via::SendGrid,
            to: text.to_owned(),
            from: text.to_owned(),
            subject: Some(text.to_owned()),
            text: Some(text.to_owned()),
            html: Some(html.to_owned()),
            headers: vec![(text.to_owned(), text.to_owned())],
            provider_id: text.to_owned(),
            our_id: None,
            status_callback: None,
            received_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn inbox_page_escapes_the_text_of_messages() {
        let attack = "</pre>\"'><script>alert(1)</script>&";
        let page = render(&[mail(attack, &format!("<p style=\"display:none\">{attack}</p>"))]);
        assert!(!page.contains("<script>"), "{page}");
        // Address, sender, subject, text, HTML, name and value of a header, and the provider's id. No preheader has an element.
        assert_eq!(page.matches("&lt;script&gt;").count(), 8);
        assert_eq!(page.matches("</pre>").count(), 2);
        let sms = Message { channel: Channel::Sms, ..mail(attack, "") };
        assert!(!render(&[sms]).contains("<script>"));
    }

    #[test]
    fn an_e_mail_is_shown_with_its_preheader_its_text_and_its_headers() {
        let html = "<body><div style=\"display:none;mso-hide:all;\">Ben &#38; Ana, Mon</div><p>Hi</p></body>";
        let page = render(&[mail("Hi Sam", html)]);
        assert!(page.contains("<p class=\"quiet\">Ben &amp; Ana, Mon</p>"), "{page}");
        assert!(page.contains("<summary>Plain text</summary><pre>Hi Sam</pre>"), "{page}");
        assert!(page.contains("<summary>Headers</summary><pre>Hi Sam: Hi Sam</pre>"), "{page}");
        let page = render(&[mail("\nHi Sam\nand more", "<p>Hi</p>")]);
        assert!(page.contains("</h2><p class=\"quiet\">Hi Sam</p>"), "{page}");
    }
}
