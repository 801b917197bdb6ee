//! `ops messages preview`: what people are sent, from sample data and the templates of `shared/catchup/templates`.

use chrono_tz::Tz;
use clap::{Args, ValueEnum};

use super::sample::{self, Kind, Reader};

/// Which message, and how.
#[derive(Args)]
pub(super) struct Preview {
    /// Kind of the message.
    #[arg(long, value_enum, default_value = "digest")]
    kind: Kind,
    /// Form of the message.
    #[arg(long, value_enum, default_value = "text")]
    channel: Form,
    /// IANA time zone of the reader: times and dates are written in the habit of its country.
    #[arg(long, value_name = "ZONE", default_value = sample::ZONE.name())]
    zone: Tz,
    /// Name of the reader.
    #[arg(long, default_value = "Sam Rivera")]
    name: String,
    /// Number of suggestions in a digest.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    suggestions: u8,
    /// A first text message, which says how to stop them.
    #[arg(long)]
    first: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// The HTML of the e-mail, a document for a browser.
    Email,
    /// Subject and plain text of the e-mail.
    Text,
    /// The text message.
    Sms,
}

impl Preview {
    pub(super) fn print(self) {
        let reader = Reader { name: self.name, zone: self.zone, is_first_text: self.first };
        let message = sample::message(self.kind, &reader, self.suggestions.into());
        match self.channel {
            Form::Email => print!("{}", message.email.html),
            Form::Text => print!("Subject: {}\n\n{}", message.email.subject, message.email.text),
            Form::Sms => println!("{}", message.sms.text()),
        }
    }
}
