//! `ops messages`: what people are sent, from sample data and the templates of `shared/catchup/templates`.

use std::process::ExitCode;

use chrono_tz::Tz;
use clap::{Args, Subcommand, ValueEnum};

mod sample;

use sample::{Kind, Reader};

/// Show the messages that people are sent.
#[derive(Args)]
pub(crate) struct Messages {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print a message of sample data, as the templates make it.
    Preview(Preview),
}

#[derive(Args)]
struct Preview {
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

impl Messages {
    pub(crate) fn run(self) -> ExitCode {
        match self.verb {
            Verb::Preview(preview) => preview.print(),
        }
        ExitCode::SUCCESS
    }
}

impl Preview {
    fn print(self) {
        let reader = Reader { name: self.name, zone: self.zone, is_first_text: self.first };
        let message = sample::message(self.kind, &reader, self.suggestions.into());
        match self.channel {
            Form::Email => print!("{}", message.email.html),
            Form::Text => print!("Subject: {}\n\n{}", message.email.subject, message.email.text),
            Form::Sms => println!("{}", message.sms.text()),
        }
    }
}
