//! The order of SMTP, spoken by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use messaging_stand_in::{Channel, Fault, Kind, Via};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::site::Site;

const TO: &str = "ada@example.test";
const MAIL: &str = "From: CatchUp <hello@catchup.example.test>\r\nDate: Mon, 23 Nov 2026 16:00:00 +0000\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n..Hi\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hi</p>\r\n--b--\r\n.";

struct Talk(BufReader<TcpStream>);

impl Talk {
    async fn start(site: &Site) -> Self {
        let mut talk = Self(BufReader::new(TcpStream::connect(site.smtp).await.unwrap()));
        assert!(talk.reply().await.starts_with("220 "));
        talk
    }

    /// The last line of a reply; empty when the connection ended.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.unwrap_or_default() == 0 {
                return String::new();
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    async fn begin(site: &Site) -> Self {
        let mut talk = Self::start(site).await;
        talk.say("EHLO client.test").await;
        let plain = STANDARD.encode(format!("\0{}\0{}", site.config.smtp_user, site.config.smtp_password));
        assert!(talk.say(&format!("AUTH PLAIN {plain}")).await.starts_with("235 "));
        talk
    }

    async fn mail(&mut self, site: &Site) -> String {
        self.say(&format!("MAIL FROM:<{}>", site.config.from_email)).await;
        self.say(&format!("RCPT TO:<{TO}>")).await;
        assert!(self.say("DATA").await.starts_with("354 "));
        self.say(MAIL).await
    }
}

#[tokio::test]
async fn mime_parts_of_an_e_mail_are_read() {
    let site = Site::start();
    let mut talk = Talk::begin(&site).await;
    let queued = talk.mail(&site).await;
    let message = &site.inbox.messages()[0];
    assert!(queued.starts_with("250 ") && queued.contains(&message.provider_id), "{queued}");
    assert_eq!((message.via, message.to.as_str()), (Via::Smtp, TO));
    assert_eq!(message.subject.as_deref(), Some("Grüße"));
    assert_eq!(message.text.as_deref().map(str::trim_end), Some(".Hi"));
    assert_eq!(message.html.as_deref().map(str::trim_end), Some("<p>Hi</p>"));
    assert!(talk.say("QUIT").await.starts_with("221 "));
}

#[tokio::test]
async fn commands_out_of_order_or_wrong_are_refused() {
    let site = Site::start();
    let mut talk = Talk::start(&site).await;
    let from = format!("MAIL FROM:<{}>", site.config.from_email);
    for (line, code) in [
        (from.as_str(), "503"),
        ("HELLO", "500"),
        ("EHLO client.test", "250"),
        (&from, "530"),
        ("AUTH PLAIN AHgAeA==", "535"),
        ("STARTTLS", "502"),
    ] {
        assert!(talk.say(line).await.starts_with(code), "{line}");
    }
    let mut talk = Talk::begin(&site).await;
    for (line, code) in [
        ("RCPT TO:<ada@example.test>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:<other@example.test>", "553"),
        (&from, "250"),
        ("RCPT TO:<ada@localhost>", "501"),
        ("RCPT TO:<ada@example.test>", "250"),
        ("DATA", "354"),
        ("Subject: no date, no sender\r\n\r\nx\r\n.", "554"),
    ] {
        assert!(talk.say(line).await.starts_with(code), "{line}");
    }
    assert_eq!(site.inbox.messages(), []);
}

#[tokio::test]
async fn a_line_without_carriage_return_ends_the_session() {
    let site = Site::start();
    let mut talk = Talk::start(&site).await;
    talk.0.write_all(b"EHLO client.test\n").await.unwrap();
    assert!(talk.reply().await.starts_with("500 "));
    assert_eq!(talk.reply().await, "");
}

#[tokio::test]
async fn faults_refuse_a_recipient_or_lose_the_reply() {
    let site = Site::start();
    site.inbox.fault(Fault::new(Channel::Email, Kind::Status { status: 550, code: 511 }).to(TO));
    let mut talk = Talk::begin(&site).await;
    talk.say(&format!("MAIL FROM:<{}>", site.config.from_email)).await;
    assert!(talk.say(&format!("RCPT TO:<{TO}>")).await.starts_with("550 5.1.1"));
    talk.say("RSET").await;

    site.inbox.fault(Fault::new(Channel::Email, Kind::StatusAfterData { status: 554, code: 0 }));
    assert!(talk.mail(&site).await.starts_with("554 Refused"));
    assert_eq!(site.inbox.messages(), []);

    site.inbox.fault(Fault::new(Channel::Email, Kind::ResetAfterAccept));
    assert_eq!(talk.mail(&site).await, "");
    assert_eq!(site.inbox.messages().len(), 1);
}
