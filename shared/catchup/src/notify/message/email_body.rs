//! An e-mail's parts, and how they look as text and as HTML.

use super::{Email, one_line};

const DOCUMENT_STYLE: &str = "font-family:Helvetica,Arial,sans-serif;font-size:16px;line-height:1.5;color:#222;max-width:36em;margin:0 auto";

/// An e-mail before it is written out.
pub(super) struct EmailBody {
    subject: String,
    parts: Vec<Part>,
}

enum Part {
    Paragraph(String),
    Heading(String),
    Link { label: &'static str, url: String },
}

impl EmailBody {
    pub(super) fn new(subject: &str) -> Self {
        Self { subject: one_line(subject), parts: Vec::new() }
    }

    /// Nothing, if `text` is empty.
    pub(super) fn paragraph(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.parts.push(Part::Paragraph(text));
        }
        self
    }

    pub(super) fn heading(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Heading(text.into()));
        self
    }

    pub(super) fn link(mut self, label: &'static str, url: impl Into<String>) -> Self {
        self.parts.push(Part::Link { label, url: url.into() });
        self
    }

    pub(super) fn write(self) -> Email {
        let text = self.parts.iter().map(Part::text).collect::<Vec<_>>().join("\n\n") + "\n";
        let parts: String = self.parts.iter().map(Part::html).collect();
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
             <body style=\"{DOCUMENT_STYLE}\">\n{parts}</body>\n</html>\n",
            escape(&self.subject)
        );
        Email { subject: self.subject, text, html }
    }
}

impl Part {
    fn text(&self) -> String {
        match self {
            Self::Paragraph(text) | Self::Heading(text) => text.clone(),
            Self::Link { label, url } => format!("{label}: {url}"),
        }
    }

    fn html(&self) -> String {
        match self {
            Self::Paragraph(text) => format!("<p>{}</p>\n", escape(text)),
            Self::Heading(text) => format!("<h2 style=\"font-size:18px\">{}</h2>\n", escape(text)),
            Self::Link { label, url } => format!("<p><a href=\"{}\">{label}</a></p>\n", escape(url)),
        }
    }
}

/// Text inside an element, or inside a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
