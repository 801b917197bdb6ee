//! `ops console`: the same as the commands, as pages. One address per state, `?json` on each, no script needed, nothing from
//! outside, and nothing written but by a form of its own.

mod access;
mod bars;
mod changes;
mod cost;
mod deploys;
mod iap;
mod page;
mod pages;
mod parameters;
mod refusal;
mod samples;
mod schedules;
mod search;
mod tasks;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use clap::Args;
use tokio::net::TcpListener;

use crate::database::wait_for;
use crate::operations::Operations;
use access::Access;
use iap::{Iap, Policy};
use refusal::Refusal;
use samples::Samples;

/// A form of ours is far smaller.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// Serve the console: queues, errors, dead letters, tasks, users, schedules and messages as pages, with the actions of the
/// commands.
///
/// On loopback, the address that is printed has a token: who opens it may act and see bodies. Without the token, and beyond
/// loopback, the pages are read-only and show no personal data.
///
/// Behind Identity-Aware Proxy (--iap-audience), whom it lets through may read; the others are named.
#[derive(Args)]
pub(crate) struct Console {
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "OPS_CONSOLE_PORT", default_value_t = 4800)]
    port: u16,
    /// The token, which is not printed then; one is made up otherwise.
    #[arg(long, env = "OPS_CONSOLE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Serve only whom Identity-Aware Proxy lets through: the audience of its assertions, such as
    /// /projects/NUMBER/global/backendServices/ID.
    #[arg(long, env = "OPS_CONSOLE_IAP_AUDIENCE", value_name = "AUDIENCE")]
    iap_audience: Option<String>,
    /// Who may act, behind Identity-Aware Proxy.
    #[arg(
        long,
        env = "OPS_CONSOLE_IAP_OPERATORS",
        requires = "iap_audience",
        value_name = "E-MAIL,…",
        value_delimiter = ','
    )]
    iap_operators: Vec<String>,
    /// Who may act and see bodies, behind Identity-Aware Proxy.
    #[arg(
        long,
        env = "OPS_CONSOLE_IAP_PERSONAL",
        requires = "iap_audience",
        value_name = "E-MAIL,…",
        value_delimiter = ','
    )]
    iap_personal: Vec<String>,
    /// Where the keys of Identity-Aware Proxy are: Google's, or, for tests, on loopback.
    #[arg(long, env = "OPS_CONSOLE_IAP_KEYS", hide = true, default_value = iap::KEYS)]
    iap_keys: String,
}

/// What all pages share.
#[derive(Clone)]
struct App {
    operations: Operations,
    access: Access,
    samples: Samples,
}

impl Console {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        wait_for(async {
            let address = SocketAddr::new(self.host, self.port);
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
            let is_given = self.token.is_some();
            let iap = self.iap_audience.map(|audience| {
                let (operators, personal) = (self.iap_operators, self.iap_personal);
                Iap::new(Policy { audience, operators, personal }, &self.iap_keys)
            });
            let access = Access::on(listener.local_addr()?, self.token, iap.transpose()?);
            println!("console: {}", if is_given { format!("http://{address}/") } else { access.address() });
            let app = App { operations: Operations::from_process(), access, samples: Samples::default() };
            tokio::spawn(app.samples.clone().take(app.operations.clone()));
            axum::serve(listener, router(app)).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/", get(pages::now))
        .route("/errors", get(pages::errors))
        .route("/errors/change", get(pages::error).post(changes::error))
        .route("/dead-letters", get(pages::dead_letters))
        .route("/dead-letters/change", get(changes::preview).post(changes::dead_letters))
        .route("/dead-letters/{id}", get(pages::dead_letter))
        .route("/bulks/{id}", get(pages::bulk).post(changes::bulk))
        .route("/queues/{name}", get(pages::queue).post(changes::hold))
        .route("/tasks", get(tasks::waiting))
        .route("/task", get(pages::task))
        .route("/task/release", post(changes::release))
        .route("/users/{id}", get(pages::user))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}", get(schedules::one).post(schedules::change))
        .route("/cost", get(cost::cost))
        .route("/deploys", get(deploys::deploys))
        .route("/messages", get(pages::messages))
        .route("/actions", get(pages::actions))
        .route("/search", get(search::find))
        .route("/health/ready", get(async || "ready"))
        .fallback(async || Refusal::NotFound("There is no such page.".to_owned()))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .layer(map_response(guard))
        .with_state(app)
}

/// What every response says to the browser. The policy of a page, which has a nonce, comes with the page.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Without a referrer browsers do not say where a form comes from either.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}
