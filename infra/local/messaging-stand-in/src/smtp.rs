//! The SMTP server: the order of RFC 5321 around two parsers, with AUTH (RFC 4954) and without TLS, on loopback only.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, Error, Request};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::address::is_email;
use crate::fault::Kind;
use crate::inbox::{Channel, Inbox, Message, Via};
use crate::mail;
use crate::serve::{App, Config};

/// RFC 5321, 4.5.3.1.5 and .6, with some room for extensions; both with their line break.
const LONGEST_COMMAND_BYTES: usize = 2_048;
const LONGEST_LINE_BYTES: usize = 1_000;
const LONGEST_MAIL_BYTES: usize = 10_000_000;
const MAX_RECIPIENTS: usize = 100;
const HOST: &str = "messaging-stand-in.localhost";

/// Speaks SMTP on `listener`, which must be bound to a loopback address, until `shutdown` resolves. Dropping the future
/// stops immediately.
pub async fn serve_smtp(
    listener: TcpListener,
    inbox: Inbox,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    stand_in::only_loopback(&listener)?;
    let app = App { inbox, config: Arc::new(config) };
    let mut sessions = JoinSet::new();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let app = app.clone();
            sessions.spawn(async move {
                if let Err(error) = Session::new(stream, app).run().await {
                    tracing::debug!(%error, "an SMTP session broke off");
                }
            });
            while sessions.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        failed = accept => failed,
        () = shutdown => Ok(()),
    }
}

/// Whether a session continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Command,
    End,
}

/// The mail under way.
#[derive(Debug, Default)]
struct Transaction {
    from: Option<String>,
    to: Vec<String>,
    fault: Option<Kind>,
}

struct Session {
    stream: BufReader<TcpStream>,
    app: App,
    greeted: bool,
    authenticated: bool,
    transaction: Transaction,
}

impl Session {
    fn new(stream: TcpStream, app: App) -> Self {
        Self {
            stream: BufReader::new(stream),
            app,
            greeted: false,
            authenticated: false,
            transaction: Transaction::default(),
        }
    }

    async fn run(mut self) -> io::Result<()> {
        self.say(&format!("220 {HOST} ESMTP")).await?;
        while let Some(line) = self.line(LONGEST_COMMAND_BYTES).await? {
            if self.command(&line).await? == Next::End {
                break;
            }
        }
        self.stream.shutdown().await
    }

    /// A line with its line break; `None` at the end of the stream.
    async fn line(&mut self, longest_bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(longest_bytes as u64);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if line.ends_with(b"\r\n") {
            return Ok(Some(line));
        }
        self.say("500 5.5.2 A line is too long, or does not end with CR LF").await?;
        Err(io::ErrorKind::InvalidData.into())
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn answer(&mut self, reply: &str) -> io::Result<Next> {
        self.say(reply).await.map(|()| Next::Command)
    }

    async fn command(&mut self, line: &[u8]) -> io::Result<Next> {
        let request = match parse(line) {
            Ok(request) => request,
            Err(reply) => return self.answer(reply).await,
        };
        match request {
            Request::Ehlo { .. } => {
                self.begin();
                let size = LONGEST_MAIL_BYTES;
                self.answer(&format!("250-{HOST}\r\n250-PIPELINING\r\n250-SIZE {size}\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN LOGIN")).await
            }
            Request::Helo { .. } => {
                self.begin();
                self.answer(&format!("250 {HOST}")).await
            }
            Request::Auth { mechanism, initial_response } => self.auth(mechanism, initial_response).await,
            Request::Mail { from } => self.mail(from.address, from.size).await,
            Request::Rcpt { to } => self.recipient(to.address).await,
            Request::Data => self.data().await,
            Request::Rset => {
                self.transaction = Transaction::default();
                self.answer("250 2.0.0 Ok").await
            }
            Request::Noop { .. } => self.answer("250 2.0.0 Ok").await,
            Request::Vrfy { .. } => self.answer("252 2.5.0 Send some mail and see").await,
            Request::Quit => self.say("221 2.0.0 Bye").await.map(|()| Next::End),
            Request::Lhlo { .. }
            | Request::Bdat { .. }
            | Request::Expn { .. }
            | Request::Help { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. }
            | Request::StartTls => self.answer("502 5.5.1 Not implemented").await,
        }
    }

    fn begin(&mut self) {
        self.greeted = true;
        self.transaction = Transaction::default();
    }

    async fn auth(&mut self, mechanism: u64, initial: String) -> io::Result<Next> {
        if !self.greeted || self.authenticated || self.transaction.from.is_some() {
            return self.answer("503 5.5.1 Not now").await;
        }
        let Config { smtp_user, smtp_password, .. } = &*self.app.config.clone();
        let right = match mechanism {
            AUTH_PLAIN => {
                let given = if initial.is_empty() { self.challenge("").await? } else { decoded(&initial) };
                given == format!("\0{smtp_user}\0{smtp_password}").into_bytes()
            }
            AUTH_LOGIN => {
                let user =
                    if initial.is_empty() { self.challenge("Username:").await? } else { decoded(&initial) };
                let password = self.challenge("Password:").await?;
                user == smtp_user.as_bytes() && password == smtp_password.as_bytes()
            }
            _ => return self.answer("504 5.5.4 PLAIN and LOGIN only").await,
        };
        self.authenticated = right;
        self.answer(if right { "235 2.7.0 Welcome" } else { "535 5.7.8 User or password is wrong" }).await
    }

    async fn challenge(&mut self, prompt: &str) -> io::Result<Vec<u8>> {
        self.say(&format!("334 {}", STANDARD.encode(prompt))).await?;
        let line = self.line(LONGEST_COMMAND_BYTES).await?.unwrap_or_default();
        Ok(decoded(String::from_utf8_lossy(&line).trim_end()))
    }

    async fn mail(&mut self, from: String, size: usize) -> io::Result<Next> {
        if !self.greeted || self.transaction.from.is_some() {
            return self.answer("503 5.5.1 Not now").await;
        }
        if !self.authenticated {
            return self.answer("530 5.7.0 Authentication required").await;
        }
        if size > LONGEST_MAIL_BYTES {
            return self.answer("552 5.3.4 Too large").await;
        }
        if !from.eq_ignore_ascii_case(&self.app.config.from_email) {
            return self.answer("553 5.7.1 Not your address").await;
        }
        self.transaction.from = Some(from);
        self.answer("250 2.1.0 Ok").await
    }

    async fn recipient(&mut self, to: String) -> io::Result<Next> {
        if self.transaction.from.is_none() {
            return self.answer("503 5.5.1 MAIL first").await;
        }
        let fault = self.app.inbox.receive(Channel::Email, &[&to]);
        match fault {
            Some(Kind::Status { status, code }) => return self.answer(&refusal(status, code)).await,
            Some(Kind::Reset) => return self.reset(),
            Some(
                Kind::StatusAfterData { .. }
                | Kind::Slow { .. }
                | Kind::ResetAfterAccept
                | Kind::AcceptThenSlow { .. }
                | Kind::AcceptThenStatus { .. }
                | Kind::AcceptThenGarbage,
            )
            | None => {}
        }
        if !is_email(&to) {
            return self.answer("501 5.1.3 Does not contain a valid address").await;
        }
        if self.transaction.to.len() == MAX_RECIPIENTS {
            return self.answer("452 4.5.3 Too many recipients").await;
        }
        self.transaction.to.push(to);
        self.transaction.fault = self.transaction.fault.or(fault);
        self.answer("250 2.1.5 Ok").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        if self.transaction.to.is_empty() {
            return self.answer("503 5.5.1 RCPT first").await;
        }
        self.say("354 End with a dot on a line of its own").await?;
        let mut bytes = Vec::new();
        while let Some(line) = self.line(LONGEST_LINE_BYTES).await? {
            if line == b".\r\n" {
                return self.end_of_data(&bytes).await;
            }
            // RFC 5321, 4.5.2: a dot that begins a line was doubled.
            bytes.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if bytes.len() > LONGEST_MAIL_BYTES {
                return self.say("552 5.3.4 Too large").await.map(|()| Next::End);
            }
        }
        Ok(Next::End)
    }

    async fn end_of_data(&mut self, bytes: &[u8]) -> io::Result<Next> {
        let Transaction { to, fault, .. } = std::mem::take(&mut self.transaction);
        match fault {
            Some(Kind::Slow { delay_ms }) => sleep(Duration::from_millis(delay_ms)).await,
            Some(Kind::StatusAfterData { status, code }) => return self.answer(&refusal(status, code)).await,
            Some(
                Kind::Status { .. }
                | Kind::Reset
                | Kind::ResetAfterAccept
                | Kind::AcceptThenSlow { .. }
                | Kind::AcceptThenStatus { .. }
                | Kind::AcceptThenGarbage,
            )
            | None => {}
        }
        let Some(mail) = mail::read(bytes) else {
            return self.answer("554 5.6.0 No message of RFC 5322: Date or From is missing").await;
        };
        let id = Uuid::new_v4().simple().to_string();
        let now = self.app.inbox.now();
        self.app.inbox.accept(to.into_iter().map(|to| Message {
            channel: Channel::Email,
            via: Via::Smtp,
            to,
            from: mail.from.clone(),
            subject: mail.subject.clone(),
            text: mail.text.clone(),
            html: mail.html.clone(),
            headers: mail.headers.clone(),
            provider_id: id.clone(),
            our_id: mail.id.clone(),
            status_callback: None,
            received_at: now,
        }));
        match fault {
            Some(Kind::ResetAfterAccept) => return self.reset(),
            Some(Kind::AcceptThenSlow { delay_ms }) => sleep(Duration::from_millis(delay_ms)).await,
            Some(Kind::AcceptThenStatus { status }) => {
                return self.answer(&format!("{status} 4.0.0 Sorry")).await;
            }
            Some(Kind::AcceptThenGarbage) => return self.answer("\u{1f4a5}").await,
            Some(Kind::Status { .. } | Kind::StatusAfterData { .. } | Kind::Reset | Kind::Slow { .. })
            | None => {}
        }
        self.answer(&format!("250 2.0.0 Ok: queued as {id}")).await
    }

    /// Closing without lingering makes the kernel send a reset.
    fn reset(&self) -> io::Result<Next> {
        self.stream.get_ref().set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

/// A refusal with its enhanced status code, if it has one.
fn refusal(status: u16, code: u32) -> String {
    match code {
        0 => format!("{status} Refused"),
        code => format!("{status} {}.{}.{} Refused", code / 100, code / 10 % 10, code % 10),
    }
}

fn decoded(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap_or_default()
}

/// A command, or the reply to a line that is none.
fn parse(line: &[u8]) -> Result<Request<String>, &'static str> {
    Request::parse(&mut line.iter()).map(Request::into_owned).map_err(|error| match error {
        Error::UnknownCommand | Error::InvalidResponse { .. } => "500 5.5.1 Unknown command",
        Error::InvalidSenderAddress | Error::InvalidRecipientAddress => {
            "501 5.1.3 Does not contain a valid address"
        }
        Error::UnsupportedParameter { .. } => "555 5.5.4 Unsupported parameter",
        Error::NeedsMoreData { .. }
        | Error::SyntaxError { .. }
        | Error::InvalidParameter { .. }
        | Error::ResponseTooLong => "501 5.5.2 Wrong arguments",
    })
}
