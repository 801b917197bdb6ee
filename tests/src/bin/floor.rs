//! What a task costs at least: a bare HTTP handler that makes the calls of a task and does nothing else.
//!
//! Two HTTP calls to Redis over kept connections, one query, no TLS, no identity token, no log. `scripts/bench task`
//! compares the functions with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::serve::ListenerExt as _;
use clap::Parser;
use reqwest::header::CONTENT_TYPE;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

/// As many as an instance of a function holds.
const DATABASE_CONNECTIONS: u32 = 4;
/// How long a key lives, as a lease does.
const TTL_SECONDS: &str = "86400";

/// Serves POST requests as cheaply as a task can be served.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Redis over HTTP
    #[arg(long)]
    redis_url: Url,
    /// Its token
    #[arg(long)]
    redis_token: String,
    /// Postgres with the application's tables
    #[arg(long)]
    database_url: PgConnectOptions,
}

struct Floor {
    http: reqwest::Client,
    redis_url: Url,
    redis_token: String,
    pool: PgPool,
    tasks: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, redis_url, redis_token, database_url } = Arguments::parse();
    // The pool's own test of a connection before its use would be a call more than the one query.
    let pool = PgPoolOptions::new()
        .max_connections(DATABASE_CONNECTIONS)
        .test_before_acquire(false)
        .connect_lazy_with(database_url.disable_statement_logging());
    // The build has no default TLS; none is used.
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(shared::http::tls())
        .no_proxy()
        .tcp_nodelay(true)
        .build()?;
    let floor = Floor { http, redis_url, redis_token, pool, tasks: AtomicU64::new(0) };
    let router = Router::new().fallback(handle).with_state(Arc::new(floor));
    let listener = TcpListener::bind(listen).await?.tap_io(|stream| {
        // Without it, answers are only later.
        let _best_effort = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

/// Reads the body as a function must, and answers 500 when a call failed.
async fn handle(State(floor): State<Arc<Floor>>, _body: Bytes) -> (StatusCode, &'static str) {
    match floor.serve().await {
        Ok(()) => (StatusCode::OK, "{}"),
        Err(error) => {
            eprintln!("floor: {error:#}");
            (StatusCode::INTERNAL_SERVER_ERROR, "{}")
        }
    }
}

impl Floor {
    async fn serve(&self) -> anyhow::Result<()> {
        let number = self.tasks.fetch_add(1, Ordering::Relaxed);
        let key = format!("floor:{number}");
        self.redis(&["SET", &key, "held", "NX", "EX", TTL_SECONDS]).await?;
        sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM users WHERE id = $1)")
            .bind(Uuid::from_u128(number.into()))
            .fetch_one(&self.pool)
            .await?;
        self.redis(&["SET", &key, "done", "EX", TTL_SECONDS]).await
    }

    async fn redis(&self, command: &[&str]) -> anyhow::Result<()> {
        let body = serde_json::to_vec(command)?;
        let request = self
            .http
            .post(self.redis_url.clone())
            .bearer_auth(&self.redis_token)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = request.send().await?.error_for_status()?.bytes().await?;
        ensure!(&answer[..] == br#"{"result":"OK"}"#, "redis: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}
