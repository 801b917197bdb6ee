//! A running stand-in.

use std::net::SocketAddr;

use messaging_stand_in::{Config, Inbox, serve, serve_smtp};
use reqwest::header::CONTENT_SECURITY_POLICY;
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) struct Site {
    pub(crate) inbox: Inbox,
    pub(crate) config: Config,
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) smtp: SocketAddr,
}

impl Site {
    pub(crate) async fn start() -> Self {
        // Another test of this process may have done so; and plain HTTP needs none of it.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let (inbox, config) = (Inbox::default(), Config::default());
        let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mail = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, smtp) = (format!("http://{}", web.local_addr().unwrap()), mail.local_addr().unwrap());
        tokio::spawn(serve(web, inbox.clone(), config.clone(), std::future::pending()));
        tokio::spawn(serve_smtp(mail, inbox.clone(), config.clone(), std::future::pending()));
        Self { inbox, config, http: reqwest::Client::builder().build().unwrap(), url, smtp }
    }
}

#[tokio::test]
async fn inbox_page_shows_and_clears_messages() {
    let site = Site::start().await;
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
