//! A running stand-in.

use std::net::SocketAddr;

use messaging_stand_in::{Config, Inbox, serve};
use reqwest::header::CONTENT_SECURITY_POLICY;
use serde_json::Value;
use tests::Messaging;
use tests::messaging::Smtp;
use tokio::net::TcpListener;

pub(crate) struct Site {
    pub(crate) inbox: Inbox,
    pub(crate) config: Config,
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) smtp: SocketAddr,
    _servers: (Messaging, Smtp),
}

impl Site {
    pub(crate) fn start() -> Self {
        let messaging = Messaging::start();
        let smtp = messaging.smtp();
        Self {
            inbox: messaging.inbox.clone(),
            config: Config::default(),
            http: tests::http::client(),
            url: messaging.url(),
            smtp: smtp.address(),
            _servers: (messaging, smtp),
        }
    }
}

#[tokio::test]
async fn inbox_page_shows_and_clears_messages() {
    let site = Site::start();
    site.twilio(&[("To", "+15005550009"), ("From", &site.config.phone_number), ("Body", "<b>Hi</b>")]).await;
    let page = site.http.get(&site.url).send().await.unwrap();
    assert!(page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
    let page = page.text().await.unwrap();
    assert!(page.contains("&lt;b&gt;Hi&lt;/b&gt;") && page.contains("1 message"), "{page}");
    let messages: Value =
        site.http.get(format!("{}/messages", site.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(messages[0]["text"], "<b>Hi</b>");
    site.http.post(format!("{}/messages/clear", site.url)).send().await.unwrap();
    assert_eq!(site.inbox.messages(), []);
}

#[tokio::test]
async fn non_loopback_listen_address_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let served = serve(listener, Inbox::default(), Config::default(), std::future::pending()).await;
    assert!(served.is_err());
}
