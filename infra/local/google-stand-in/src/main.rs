//! The stand-in for Google as a process of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use google_stand_in::{Config, SeedOptions, World, serve};
use tokio::net::TcpListener;

/// A stand-in for Google's token endpoint, Calendar v3 and People v1 over a seeded world.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Loopback address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8770")]
    listen: SocketAddr,
    /// The same seed gives the same world
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many users the world has
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// How many people the largest address book has
    #[arg(long, default_value_t = 5_000)]
    max_contacts: u64,
    /// Place in the list of a user who gets an address book of 100,000 people
    #[arg(long)]
    huge_user: Option<usize>,
    /// OAuth client id that the token endpoint accepts
    #[arg(long, env = "GOOGLE_CLIENT_ID", default_value_t = Config::default().client_id)]
    client_id: String,
    /// OAuth client secret that the token endpoint accepts
    #[arg(long, env = "GOOGLE_CLIENT_SECRET", hide_env_values = true, default_value_t = Config::default().client_secret)]
    client_secret: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let world = World::seeded(SeedOptions {
        seed: options.seed,
        users: options.users,
        max_contacts: options.max_contacts,
        huge_user: options.huge_user,
        ..SeedOptions::default()
    });
    let config = Config { client_id: options.client_id, client_secret: options.client_secret };
    let listener = TcpListener::bind(options.listen).await.context("cannot listen there")?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, world, config, interrupted()).await.context("the server ended")
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "cannot wait for an interrupt");
    }
}
