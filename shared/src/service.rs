//! The HTTP service around a job: one tower layer a file.
//!
//! A dispatch passes the layers in this order, and its answer passes them in reverse:
//!
//! 1. [`respond`][]: turns the verdict into an answer, writes the canonical log line, outlives its caller
//! 2. [`oidc`][]: 401 or 403 before anything else is touched
//! 3. [`body_limit`][]: 413
//! 4. [`parse`][]: an unusable body becomes a dead letter
//! 5. [`claim`][]: duplicates and leases; settles or releases the claim
//! 6. [`attempts`][]: dead letters, and who comes back when
//! 7. [`shutdown`][]: interrupts the job when the instance has to go
//! 8. [`timeout`][]: interrupts the job when its time is over
//! 9. [`panic`][]: turns a panic into a failure
//! 10. [`execute`][]: reads the payload, runs the job

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::post_service;
use tokio::net::TcpListener;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::clock::Clock;
use crate::config::{Config, Incomplete, variables};
use crate::job::{Job, Outcome, Setup};
use crate::oidc::Verifier;
use crate::payload::Payload;
use crate::queue::Queue;
use crate::{idempotency, telemetry};

mod attempts;
mod body_limit;
mod claim;
mod comeback;
mod dead_letters;
mod dispatch;
mod execute;
mod health;
mod help;
mod oidc;
mod panic;
mod parse;
mod respond;
mod server;
mod shutdown;
mod timeout;
mod verdict;

use dispatch::Dispatch;
pub use shutdown::Shutdown;
use verdict::Interruption;

/// Exit code for a configuration that cannot be used.
const EXIT_CONFIGURATION: u8 = 2;

/// A layer's service: it always has an answer.
trait Stage<I, O>:
    Service<I, Response = O, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S, I, O> Stage<I, O> for S where
    S: Service<I, Response = O, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

async fn call<I: Send, O>(stage: impl Stage<I, O>, input: I) -> O {
    // Boxed, since ten futures inside each other are more than the compiler likes to lay out.
    match Box::pin(stage.oneshot(input)).await {
        Ok(output) => output,
        Err(never) => match never {},
    }
}

/// Runs the job's service until SIGTERM or Ctrl-C: all of a function's `main`.
///
/// Exit code 2, with the whole list on standard error, when the configuration cannot be used; 1 when the port cannot.
pub async fn run<J: Job>() -> ExitCode {
    if let Some(code) = help::answer::<J>(std::env::args().skip(1)) {
        return code;
    }
    let mut config = Config::from_process();
    let address = address(&mut config);
    let logging = telemetry::start(&mut config);
    let mut setup = Setup::new(config);
    let service = build::<J>(&mut setup);
    let (Ok(address), Ok(()), Ok((router, shutdown))) = (address, logging, service) else {
        help::report(J::Payload::QUEUE, &setup.config().problems());
        return ExitCode::from(EXIT_CONFIGURATION);
    };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tracing::info!(%address, "listening");
            server::serve(listener, router, &shutdown).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, %address, "cannot listen");
            ExitCode::FAILURE
        }
    }
}

fn build<J: Job>(setup: &mut Setup) -> Result<(Router, Shutdown), Incomplete> {
    let job = J::new(setup);
    // Its problems are reported together with those of the job.
    let verifier = setup.verifier(J::Payload::QUEUE).map(drop);
    verifier.and(job).and_then(|job| router(job, setup))
}

/// The job's routes as [`run`] serves them, and the handle that stops them: what tests call, too.
pub fn router<J: Job>(job: J, setup: &mut Setup) -> Result<(Router, Shutdown), Incomplete> {
    let verifier = setup.verifier(J::Payload::QUEUE);
    let (db, redis, tasks) = (setup.db()?, setup.redis()?, setup.tasks()?);
    let (job, verifier) = (Arc::new(job), verifier?);
    let clock = setup.clock();
    let queue = J::Payload::QUEUE;
    let shutdown = Shutdown::new(tasks.clone());
    let claims = idempotency::Claims::new(redis, clock.clone());
    let comeback = comeback::Comeback::new(queue, tasks, clock.clone());
    let letters = dead_letters::DeadLetters::new(queue, db.clone(), comeback.clone());

    let execute = BoxCloneSyncService::new(execute::service(job, clock.clone(), shutdown.clone()));
    let routes = routes(queue, &clock, verifier, claims, letters, comeback, &shutdown, execute);
    Ok((routes.merge(health::routes(db)), shutdown))
}

/// All layers around a job. They do not know which job: so they are compiled once, and not for each function again.
#[expect(clippy::too_many_arguments, reason = "each layer's own")]
fn routes(
    queue: Queue,
    clock: &Clock,
    verifier: Verifier,
    claims: idempotency::Claims,
    letters: dead_letters::DeadLetters,
    comeback: comeback::Comeback,
    shutdown: &Shutdown,
    execute: BoxCloneSyncService<Dispatch, Result<Outcome, Interruption>, Infallible>,
) -> Router {
    let dispatch = ServiceBuilder::new()
        .layer(respond::layer(queue, clock.clone(), shutdown.running()))
        .layer(oidc::layer(Arc::new(verifier)))
        .layer(body_limit::layer())
        .layer(parse::layer(queue, letters.clone(), clock.clone()))
        .layer(claim::layer(queue, claims, letters.clone(), comeback.clone()))
        .layer(attempts::layer(queue, letters, comeback))
        .layer(shutdown::layer(shutdown.clone()))
        .layer(timeout::layer(queue.policy().timeout()))
        .layer(panic::layer())
        .service(execute);
    Router::new().route("/", post_service(dispatch.clone())).route("/api/jobs/{job}", post_service(dispatch))
}

fn address(config: &mut Config) -> Result<SocketAddr, Incomplete> {
    let host = config.required::<IpAddr>(&variables::HOST);
    let port = config.required::<u16>(&variables::PORT);
    Ok(SocketAddr::new(host?, port?))
}
