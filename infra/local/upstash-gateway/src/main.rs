//! The gateway as a program: see the library's documentation.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use upstash_gateway::{Config, DEFAULT_MAX_REQUEST_BYTES, parse_duration, parse_share, serve};

/// Exit code for a configuration that cannot work.
const CONFIGURATION: u8 = 2;

/// An Upstash-compatible HTTP gateway in front of any Redis.
///
/// Serves Upstash's REST protocol (commands as JSON or as a path, pipelines, transactions, subscriptions, monitor) on
/// top of Redis, Valkey or Memorystore, for the official Upstash clients and limiters. Plain HTTP: put TLS in front.
/// SIGTERM and SIGINT let requests finish first. Exit code 2 means that the configuration cannot work.
#[derive(Parser)]
#[command(name = "upstash-gateway", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one and prints it
    #[arg(long, env = "UPSTASH_GATEWAY_LISTEN", default_value = "127.0.0.1:8079")]
    listen: SocketAddr,
    /// Where Redis is: `redis://[user:password@]host:port/db` or `unix:///path/to/socket?db=0`
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379/0", hide_env_values = true)]
    redis_url: String,
    /// Token that clients must send (better given in the environment than here)
    #[arg(
        long,
        env = "UPSTASH_REDIS_REST_TOKEN",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    token: String,
    /// Second token, which allows reading only
    #[arg(long, env = "UPSTASH_REDIS_REST_READONLY_TOKEN", hide_env_values = true)]
    read_only_token: Option<String>,
    /// Connections to Redis that carry commands
    #[arg(long, default_value_t = 4)]
    redis_connections: usize,
    /// How long connecting to Redis may take
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    connect_timeout_ms: u64,
    /// How long Redis may take to answer one request
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    response_timeout_ms: u64,
    /// Largest request body
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_REQUEST_BYTES)]
    max_request_bytes: usize,
    /// HTTP connections at a time; further ones wait
    #[arg(long, default_value_t = 1024)]
    max_connections: usize,
    /// Open subscribe and monitor streams at a time; further ones get 503
    #[arg(long, default_value_t = 256)]
    max_streams: usize,
    /// How long requests under way may take to finish after SIGTERM
    #[arg(long, value_name = "MS", default_value_t = 8_000)]
    drain_timeout_ms: u64,
    /// Serve what Upstash would bill: GET /__stats, DELETE /__stats to start again (with the token)
    #[arg(long)]
    stats: bool,
    /// Count the calls inside scripts too (each script then costs Redis two INFO more)
    #[arg(long)]
    count_script_calls: bool,
    /// Fault: reads see a state this much older (such as 2s), unless they carry a newer Upstash-Sync-Token
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    replica_lag: Duration,
    /// Fault: remember writes for this long, so that POST /__admin/lose-writes/DURATION can undo the last ones
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    lose_writes: Duration,
    /// Fault: each command evicts a random key with this probability (0 to 1)
    #[arg(long, value_name = "PROBABILITY", value_parser = parse_share, default_value = "0")]
    evict: f64,
    /// Fault: refuse every request once this many commands were billed
    #[arg(long, value_name = "COMMANDS")]
    quota: Option<u64>,
    /// Cause faults on demand (with the token): POST /__admin/lose-writes/DURATION, /__admin/evict/SHARE[/PATTERN],
    /// /__admin/flush
    #[arg(long)]
    admin: bool,
}

impl Arguments {
    fn config(self) -> Config {
        let config = Config::new(&self.redis_url, &self.token);
        config.unkindness.set_replica_lag(self.replica_lag);
        config.unkindness.set_undo_window(self.lose_writes);
        config.unkindness.set_eviction(self.evict);
        config.unkindness.set_quota(self.quota);
        Config {
            read_only_token: self.read_only_token.map(|token| token.trim().into()),
            redis_connections: self.redis_connections,
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            response_timeout: Duration::from_millis(self.response_timeout_ms),
            max_request_bytes: self.max_request_bytes,
            max_connections: self.max_connections,
            max_streams: self.max_streams,
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            stats: self.stats,
            count_script_calls: self.count_script_calls,
            admin: self.admin,
            ..config
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let listen = arguments.listen;
    let config = arguments.config();
    let problems = config.problems();
    if !problems.is_empty() {
        for problem in problems {
            eprintln!("upstash-gateway: {problem}");
        }
        return ExitCode::from(CONFIGURATION);
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(listen, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upstash-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(listen: SocketAddr, config: Config) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    println!("listening on http://{}", listener.local_addr().context("the listener has no address")?);
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(serve(listener, config, shutdown).await?)
}
