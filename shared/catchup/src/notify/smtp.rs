//! E-mail over SMTP, to any server.
//!
//! One connection a message, one command at a time: so it is always known whether the server had the message when
//! something broke. Source: RFC 5321; RFC 3207 (STARTTLS), RFC 8314 (implicit TLS).

use std::fmt;
use std::time::Duration;

use lettre::address::{Address, Envelope};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::{Code, Severity};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use shared::clock::Clock;
use shared::config::{Config, InvalidConfig};
use shared::http;
use shared::telemetry::vendor_call;
use tokio::time::timeout;
use url::Url;

use super::Timeouts;
use super::email::{LIST_UNSUBSCRIBE, LIST_UNSUBSCRIBE_POST, SENDER_NAME, Tracking, sender};
use super::message::Email;
use super::result::{ProviderError, SendError, SendResult};
use crate::variables;

/// Time for a polite end, which changes nothing.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// To RCPT: the address is none.
const WRONG_ARGUMENT: u16 = 501;

/// Longest time that one message takes: up to the server's leave to send it, the message, and the polite end.
pub(super) const fn longest_exchange(timeouts: &Timeouts) -> Duration {
    timeouts.answer.saturating_mul(2).saturating_add(QUIT_TIMEOUT)
}

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
    timeouts: Timeouts,
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

    pub(super) fn from_config(
        config: &mut Config,
        clock: Clock,
        timeouts: Timeouts,
    ) -> Result<Self, InvalidConfig> {
        let server = server(config);
        let from = sender(config, &variables::SMTP_FROM_EMAIL);
        let (host, port, encryption, credentials) = server?;
        let from = Mailbox::new(Some(SENDER_NAME.to_owned()), from?);
        Ok(Self { host, port, encryption, credentials, from, clock, timeouts })
    }

    /// Sends an e-mail to one address.
    pub(super) async fn send(&self, to: &str, tracking: Tracking<'_>, email: &Email) -> SendResult {
        let Ok(to) = to.parse::<Address>() else {
            return Err(SendError::Refused("invalid_address".to_owned()));
        };
        let id = format!("<{}@{}>", tracking.message_id, self.from.email.domain());
        let message = lettre::Message::builder()
            .message_id(Some(id.clone()))
            .date(self.clock.now().into())
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&email.subject)
            .multipart(MultiPart::alternative_plain_html(email.text.clone(), email.html.clone()));
        vendor_call("smtp.send", async {
            let mut message =
                message.map_err(|error| SendError::NotTaken(ProviderError::Unreachable(error.into())))?;
            let (post, one_click) = LIST_UNSUBSCRIBE_POST;
            for (name, value) in
                [(LIST_UNSUBSCRIBE, tracking.list_unsubscribe()), (post, one_click.to_owned())]
            {
                let name = HeaderName::new_from_ascii_str(name);
                message.headers_mut().insert_raw(HeaderValue::new(name, value));
            }
            self.hand_over(message.envelope(), &message.formatted()).await?;
            Ok(id)
        })
        .await
    }

    async fn hand_over(&self, envelope: &Envelope, message: &[u8]) -> Result<(), SendError> {
        let mut connection = timeout(self.timeouts.answer, self.prepare(envelope))
            .await
            .unwrap_or(Err(SendError::NotTaken(ProviderError::Timeout)))?;
        timeout(self.timeouts.answer, connection.message(message))
            .await
            .map_err(|_| SendError::Unknown(ProviderError::Timeout))?
            .map_err(|error| classify(Step::Message, error))?;
        let _it_has_the_message = timeout(QUIT_TIMEOUT, connection.quit()).await;
        Ok(())
    }

    /// Everything up to the server's leave to send the message.
    async fn prepare(&self, envelope: &Envelope) -> Result<AsyncSmtpConnection, SendError> {
        let opening = |error| classify(Step::Opening, error);
        let recipient = |error| classify(Step::Recipient, error);
        let mut connection = self.connect().await.map_err(opening)?;
        let mut parameters = Vec::new();
        // Our own address is ASCII.
        if envelope.to().iter().any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::Refused("smtputf8".to_owned()));
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
        let wait = Some(self.timeouts.connect);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, wait, &name, from_the_start, None).await?;
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

fn server(config: &mut Config) -> Result<Server, InvalidConfig> {
    let url = config.secret(&variables::SMTP_URL)?;
    match url.expose_secret().parse::<Url>().ok().and_then(|url| server_of(&url)) {
        Some(server) => Ok(server),
        None => Err(config.problem(&variables::SMTP_URL, "is malformed")),
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
fn classify(step: Step, error: smtp::Error) -> SendError {
    let Some(code) = error.status() else {
        let error = if error.is_timeout() {
            ProviderError::Timeout
        } else if error.is_response() {
            ProviderError::Garbage
        } else {
            ProviderError::Unreachable(error.into())
        };
        return match step {
            Step::Opening | Step::Recipient => SendError::NotTaken(error),
            Step::Message => SendError::Unknown(error),
        };
    };
    classify_code(step, code, enhanced_code(&error))
}

/// The enhanced status code of a refusal (RFC 3463), which stands before the server's words.
fn enhanced_code(error: &smtp::Error) -> Option<[u16; 3]> {
    let text = std::error::Error::source(error)?.to_string();
    let mut numbers = text.split_ascii_whitespace().next()?.splitn(3, '.').map(str::parse);
    let code = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
    matches!(code[0], 2 | 4 | 5).then_some(code)
}

/// Whether a refusal for good is one of the recipient's mailbox. Not among these are a full mailbox, which may be emptied, and the
/// codes about the sender's address (5.1.7 and 5.1.8), policy (5.7), the server (5.3) and the quota of the account (5.4.5).
fn concerns_recipient(step: Step, status: u16, enhanced: Option<[u16; 3]>) -> bool {
    match (step, enhanced) {
        (Step::Opening, _) | (Step::Message, None) => false,
        (Step::Recipient | Step::Message, Some([_, subject, detail])) => match subject {
            1 => !matches!(detail, 7 | 8),
            2 => detail == 1,
            _ => false,
        },
        // Without a code of its own a 550 may say that relaying is denied: only that the address is none is certain.
        (Step::Recipient, None) => status == WRONG_ARGUMENT,
    }
}

fn classify_code(step: Step, code: Code, enhanced: Option<[u16; 3]>) -> SendError {
    let status = u16::from(code);
    let is_permanent = code.severity == Severity::PermanentNegativeCompletion;
    let text = enhanced.map(|[class, subject, detail]| format!("{class}.{subject}.{detail}"));
    if is_permanent && concerns_recipient(step, status, enhanced) {
        SendError::Refused(text.unwrap_or_else(|| status.to_string()))
    } else if is_permanent && enhanced.is_some_and(|[_, subject, _]| subject == 2) {
        // The recipient's mailbox, and not for good.
        SendError::NotTaken(ProviderError::Unavailable(status))
    } else if is_permanent {
        SendError::NotTaken(ProviderError::Refused { status, code: text.unwrap_or_default() })
    } else {
        SendError::NotTaken(ProviderError::Unavailable(status))
    }
}

#[cfg(test)]
mod tests {
    use lettre::transport::smtp::response::{Category, Detail};

    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Option<(&str, u16, &str, bool)>) {
        let server = server_of(&url.parse().unwrap());
        let found = server.as_ref().map(|(host, port, encryption, credentials)| {
            let encryption = match encryption {
                Encryption::Loopback => "none",
                Encryption::StartTls(_) => "starttls",
                Encryption::Implicit(_) => "tls",
            };
            (host.as_str(), *port, encryption, credentials.is_some())
        });
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn mail_leaves_the_machine_only_in_tls() {
        check("smtps://u:p@mail.example.org", Some(("mail.example.org", 465, "tls", true)));
        check("smtps://mail.example.org:2465", Some(("mail.example.org", 2465, "tls", false)));
        check("smtp://u:p@mail.example.org", Some(("mail.example.org", 587, "starttls", true)));
        check("smtp://127.0.0.1:2525", Some(("127.0.0.1", 2525, "none", false)));
        check("smtp://u:p@[::1]:2525", Some(("::1", 2525, "none", true)));
        check("https://mail.example.org", None);
        check("smtp:mail", None);
    }

    #[test]
    fn a_password_may_have_any_characters() {
        let (_, _, _, credentials) =
            server_of(&"smtps://ana%40example.org:p%3A%2F%C3%BC@mail.example.org".parse().unwrap()).unwrap();
        let expected = Credentials::new("ana@example.org".to_owned(), "p:/ü".to_owned());
        assert_eq!(credentials, Some(expected));
    }

    #[track_caller]
    fn check_class(step: Step, reply: &str, expected: &str) {
        let (code, text) = reply.split_at(3);
        let digit = |place: usize| code.as_bytes()[place] - b'0';
        let severity = match digit(0) {
            4 => Severity::TransientNegativeCompletion,
            _ => Severity::PermanentNegativeCompletion,
        };
        let category = match digit(1) {
            0 => Category::Syntax,
            1 => Category::Information,
            2 => Category::Connections,
            3 => Category::Unspecified3,
            4 => Category::Unspecified4,
            _ => Category::MailSystem,
        };
        let details = [Detail::Zero, Detail::One, Detail::Two, Detail::Three, Detail::Four, Detail::Five];
        let code = Code::new(severity, category, details[usize::from(digit(2))]);
        let numbers: Vec<u16> = text.trim().split('.').filter_map(|number| number.parse().ok()).collect();
        let enhanced = numbers.try_into().ok();
        assert_eq!(format!("{:?}", classify_code(step, code, enhanced)), expected, "{step:?} {reply}");
    }

    fn ours(status: u16, code: &str) -> String {
        format!("NotTaken(Refused {{ status: {status}, code: {code:?} }})")
    }

    #[test]
    fn only_what_is_said_of_the_recipients_mailbox_is_for_good() {
        for step in [Step::Recipient, Step::Message] {
            check_class(step, "550 5.1.1", r#"Refused("5.1.1")"#);
            check_class(step, "553 5.1.3", r#"Refused("5.1.3")"#);
            check_class(step, "555 5.1.10", r#"Refused("5.1.10")"#);
            check_class(step, "550 5.2.1", r#"Refused("5.2.1")"#);
            check_class(step, "552 5.2.2", "NotTaken(Unavailable(552))");
            check_class(step, "450 4.2.1", "NotTaken(Unavailable(450))");
        }
        check_class(Step::Recipient, "501", r#"Refused("501")"#);
    }

    #[test]
    fn what_a_mail_server_says_of_sender_quota_and_policy_is_not_the_recipients_fault() {
        // As SendGrid, SES, Gmail and Postfix word it.
        check_class(Step::Message, "550", &ours(550, ""));
        check_class(Step::Message, "554", &ours(554, ""));
        check_class(Step::Message, "554 5.7.0", &ours(554, "5.7.0"));
        check_class(Step::Message, "550 5.4.5", &ours(550, "5.4.5"));
        check_class(Step::Message, "552 5.3.4", &ours(552, "5.3.4"));
        check_class(Step::Recipient, "550", &ours(550, ""));
        check_class(Step::Recipient, "554", &ours(554, ""));
        check_class(Step::Recipient, "550 5.7.1", &ours(550, "5.7.1"));
        check_class(Step::Recipient, "553 5.1.8", &ours(553, "5.1.8"));
        check_class(Step::Recipient, "503 5.5.1", &ours(503, "5.5.1"));
        check_class(Step::Recipient, "530 5.7.0", &ours(530, "5.7.0"));
        check_class(Step::Opening, "535 5.7.8", &ours(535, "5.7.8"));
        check_class(Step::Opening, "550 5.1.1", &ours(550, "5.1.1"));
        check_class(Step::Opening, "421 4.7.0", "NotTaken(Unavailable(421))");
        check_class(Step::Message, "451", "NotTaken(Unavailable(451))");
    }
}
