//! E-mail over SMTP, to any server.
//!
//! One connection a message, one command at a time: so it is always known whether the server had the message when
//! something broke. Source: RFC 5321; RFC 3207 (STARTTLS), RFC 8314 (implicit TLS).

use std::fmt;
use std::time::Duration;

use lettre::address::{Address, Envelope};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::{Category, Severity};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::answer::{Answer, NoReceipt, Trouble};
use super::email::SENDER_NAME;
use super::message::Email;
use crate::clock::Clock;
use crate::config::{Config, Incomplete, variables};
use crate::http;
use crate::telemetry::vendor_call;

/// Time for all that comes before the message: giving up then is safe.
const PREPARATION_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for the message and the server's word that it has it.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a polite end, which changes nothing.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;

/// A mail server, and our address there.
pub(super) struct Smtp {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    from: Mailbox,
    clock: Clock,
}

/// How the connection is kept private.
enum Encryption {
    /// It stays on this machine.
    Loopback,
    /// From a command on; a server that does not offer it gets nothing.
    StartTls(TlsParameters),
    /// From the beginning.
    Implicit(TlsParameters),
}

/// What a connection was about when it failed.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Greeting, TLS, login, sender: nothing about the recipient.
    Opening,
    /// The recipient, and leave to send.
    Recipient,
    /// The message itself.
    Message,
}

impl Smtp {
    pub(super) const NAME: &str = "smtp";

    pub(super) fn from_config(config: &mut Config, clock: Clock) -> Result<Self, Incomplete> {
        let server = server(config);
        let from = config.required::<Address>(&variables::SMTP_FROM_EMAIL);
        let (host, port, encryption, credentials) = server?;
        let from = Mailbox::new(Some(SENDER_NAME.to_owned()), from?);
        Ok(Self { host, port, encryption, credentials, from, clock })
    }

    /// Sends an e-mail to one address.
    pub(super) async fn send(&self, to: &str, email: &Email) -> Answer {
        let Ok(to) = to.parse::<Address>() else {
            return Err(NoReceipt::Refused("invalid_address".to_owned()));
        };
        let id = format!("<{}@{}>", Uuid::new_v4(), self.from.email.domain());
        let message = lettre::Message::builder()
            .message_id(Some(id.clone()))
            .date(self.clock.now().into())
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&email.subject)
            .multipart(MultiPart::alternative_plain_html(email.text.clone(), email.html.clone()));
        vendor_call("smtp.send", async {
            let message = message.map_err(|error| NoReceipt::NotTaken(Trouble::Unreachable(error.into())))?;
            self.hand_over(message.envelope(), &message.formatted()).await?;
            Ok(id)
        })
        .await
    }

    async fn hand_over(&self, envelope: &Envelope, message: &[u8]) -> Result<(), NoReceipt> {
        let mut connection = timeout(PREPARATION_TIMEOUT, self.prepare(envelope))
            .await
            .unwrap_or(Err(NoReceipt::NotTaken(Trouble::Timeout)))?;
        timeout(MESSAGE_TIMEOUT, connection.message(message))
            .await
            .map_err(|_| NoReceipt::Unknown(Trouble::Timeout))?
            .map_err(|error| judge(Step::Message, error))?;
        let _it_has_the_message = timeout(QUIT_TIMEOUT, connection.quit()).await;
        Ok(())
    }

    /// Everything up to the server's leave to send the message.
    async fn prepare(&self, envelope: &Envelope) -> Result<AsyncSmtpConnection, NoReceipt> {
        let opening = |error| judge(Step::Opening, error);
        let recipient = |error| judge(Step::Recipient, error);
        let mut connection = self.connect().await.map_err(opening)?;
        let mut parameters = Vec::new();
        let mut addresses = envelope.to().iter().chain(envelope.from());
        if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(NoReceipt::Refused("smtputf8".to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        connection.command(Mail::new(envelope.from().cloned(), parameters)).await.map_err(opening)?;
        for to in envelope.to() {
            connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(recipient)?;
        }
        connection.command(Data).await.map_err(recipient)?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, smtp::Error> {
        let name = ClientId::Domain(self.from.email.domain().to_owned());
        let from_the_start = match &self.encryption {
            Encryption::Implicit(tls) => Some(tls.clone()),
            Encryption::Loopback | Encryption::StartTls(_) => None,
        };
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, None, &name, from_the_start, None).await?;
        if let Encryption::StartTls(tls) = &self.encryption {
            connection.starttls(tls.clone(), &name).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Smtp({}:{})", self.host, self.port)
    }
}

type Server = (String, u16, Encryption, Option<Credentials>);

fn server(config: &mut Config) -> Result<Server, Incomplete> {
    let url = config.secret(&variables::SMTP_URL)?;
    match url.expose_secret().parse::<Url>().ok().and_then(|url| server_of(&url)) {
        Some(server) => Ok(server),
        None => Err(config.problem(&variables::SMTP_URL, "has another form")),
    }
}

fn server_of(url: &Url) -> Option<Server> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let tls = || TlsParameters::builder(host.clone()).build_rustls().ok();
    let (encryption, default_port) = match url.scheme() {
        "smtps" => (Encryption::Implicit(tls()?), SUBMISSIONS_PORT),
        "smtp" if http::is_loopback(url) => (Encryption::Loopback, SUBMISSION_PORT),
        "smtp" => (Encryption::StartTls(tls()?), SUBMISSION_PORT),
        _ => return None,
    };
    let plain = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from);
    let credentials = match url.password() {
        Some(password) => Some(Credentials::new(plain(url.username())?, plain(password)?)),
        None => None,
    };
    Some((host, url.port().unwrap_or(default_port), encryption, credentials))
}

/// What the failure of a step means. The server's words stay behind: they quote addresses.
fn judge(step: Step, error: smtp::Error) -> NoReceipt {
    let Some(code) = error.status() else {
        let trouble = if error.is_timeout() {
            Trouble::Timeout
        } else if error.is_response() {
            Trouble::Garbage
        } else {
            Trouble::Unreachable(error.into())
        };
        return match step {
            Step::Opening | Step::Recipient => NoReceipt::NotTaken(trouble),
            Step::Message => NoReceipt::Unknown(trouble),
        };
    };
    let status = u16::from(code);
    match (code.severity, step) {
        (Severity::PermanentNegativeCompletion, Step::Recipient | Step::Message)
            if code.category == Category::MailSystem =>
        {
            NoReceipt::Refused(status.to_string())
        }
        (Severity::PermanentNegativeCompletion, Step::Opening | Step::Recipient | Step::Message) => {
            NoReceipt::NotTaken(Trouble::Refused { status, code: String::new() })
        }
        (
            Severity::TransientNegativeCompletion
            | Severity::PositiveIntermediate
            | Severity::PositiveCompletion,
            Step::Opening | Step::Recipient | Step::Message,
        ) => NoReceipt::NotTaken(Trouble::Unavailable(status)),
    }
}
