//! The stand-in for Twilio, `SendGrid` and SMTP as a process of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use messaging_stand_in::{Config, Inbox, serve, serve_smtp};
use tokio::net::TcpListener;

/// A stand-in for Twilio's Messages, SendGrid's Mail Send and an SMTP server, with one inbox.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Loopback address for Twilio, SendGrid and the inbox; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8771")]
    listen: SocketAddr,
    /// Loopback address for SMTP; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8772")]
    smtp: SocketAddr,
    /// Account of Twilio
    #[arg(long, env = "TWILIO_ACCOUNT_SID", default_value_t = Config::default().account_sid)]
    account_sid: String,
    /// Its token
    #[arg(long, env = "TWILIO_AUTH_TOKEN", hide_env_values = true, default_value_t = Config::default().auth_token)]
    auth_token: String,
    /// Its number
    #[arg(long, env = "TWILIO_PHONE_NUMBER", default_value_t = Config::default().phone_number)]
    phone_number: String,
    /// Key of SendGrid
    #[arg(long, env = "SENDGRID_API_KEY", hide_env_values = true, default_value_t = Config::default().api_key)]
    api_key: String,
    /// The one verified sender
    #[arg(long, env = "SENDGRID_FROM_EMAIL", default_value_t = Config::default().from_email)]
    from_email: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config = Config {
        account_sid: options.account_sid,
        auth_token: options.auth_token,
        phone_number: options.phone_number,
        api_key: options.api_key,
        from_email: options.from_email,
        ..Config::default()
    };
    let inbox = Inbox::default();
    let http = TcpListener::bind(options.listen).await.context("cannot listen there")?;
    let smtp = TcpListener::bind(options.smtp).await.context("cannot listen there for SMTP")?;
    println!("listening on http://{}", http.local_addr()?);
    println!("smtp on {}", smtp.local_addr()?);
    let (web, mail) = tokio::join!(
        serve(http, inbox.clone(), config.clone(), interrupted()),
        serve_smtp(smtp, inbox, config, interrupted()),
    );
    web.and(mail).context("a server ended")
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "cannot wait for an interrupt");
    }
}
