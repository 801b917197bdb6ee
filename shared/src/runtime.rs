//! The service around a job.
//!
//! `process` is the path of a task from its request to its response, one function to be read from top to bottom; next
//! to it, what its steps need: `task` (what a request is read into), `handler` (the job, behind its payload's type),
//! `occupancy` (which jobs run at the same time in this process), `outages` (what failed a moment ago), `disposition`
//! (how a dispatch ends, and the response), [`responses`] (the list of all of them), and `shutdown`. A service without a
//! queue is served in the same way (`service`).

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::{Config, InvalidConfig, variables};
use crate::db::Database;
use crate::db::dead_letters::DeadLetters;
use crate::db::failures::Failures;
use crate::db::sweeps::Sweeps;
use crate::idempotency::Leases;
use crate::job::{Job, Setup};
use crate::oidc::Verifier;
use crate::pace::Pace;
use crate::payload::Payload;
use crate::queue::{JOBS_PATH, Queue};
use crate::tasks::Tasks;
use crate::telemetry::{self, EventCode};

mod caller;
mod detached;
mod disposition;
mod handler;
mod health;
mod help;
mod occupancy;
mod outages;
mod process;
mod report;
mod responses;
mod server;
mod service;
mod shutdown;
mod steps;
mod task;

pub use caller::caller;
use detached::Detached;
pub use responses::{Reason, TaskResponse, task_responses};
pub use service::{Endpoints, Handled, Service, TURNED_AWAY, serve, service_router};

use handler::Handler;
use help::Program;
use occupancy::Occupancy;
use outages::Outages;
pub use shutdown::Shutdown;

/// Exit code for a configuration that cannot be used.
const EXIT_CONFIGURATION: u8 = 2;

/// What a task's path needs, whatever the job.
struct Runtime {
    queue: Queue,
    handler: Box<dyn Handler>,
    verifier: Verifier,
    leases: Leases,
    database: Database,
    failures: Failures,
    dead_letters: DeadLetters,
    sweeps: Sweeps,
    tasks: Tasks,
    clock: Clock,
    shutdown: Shutdown,
    occupancy: Occupancy,
    outages: Outages,
    instance: Arc<str>,
    revision: String,
    pace: Pace,
}

/// Runs the job's service until SIGTERM or Ctrl-C: all of a function's `main`.
///
/// Exit code 2, with the whole list on standard error, when the configuration cannot be used; 1 when the port cannot.
pub async fn run<J: Job>() -> ExitCode {
    let queue = J::Payload::QUEUE;
    let program = Program {
        name: queue.name(),
        serves: format!("the tasks of {}-queue", queue.name()),
        variables: queue.declaration().variables,
    };
    start(program, |setup| {
        let job = J::new(setup);
        routes(job, setup)
    })
    .await
}

async fn start(
    program: Program,
    make: impl FnOnce(&mut Setup) -> Result<(Router, Shutdown), InvalidConfig>,
) -> ExitCode {
    if let Some(code) = program.answer(std::env::args().skip(1)) {
        return code;
    }
    let mut config = Config::from_process();
    let address = address(&mut config);
    let logging = telemetry::start(&mut config);
    let mut setup = Setup::new(config);
    let service = make(&mut setup);
    let (Ok(address), Ok(()), Ok((router, shutdown))) = (address, logging, service) else {
        program.report(&setup.config().problems());
        return ExitCode::from(EXIT_CONFIGURATION);
    };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tracing::info!(event = %EventCode::Listening, %address, "listening");
            server::serve(listener, router, &shutdown).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(event = %EventCode::NotListening, error = &error as &dyn std::error::Error, %address, "cannot listen");
            ExitCode::FAILURE
        }
    }
}

/// The job's routes as [`run`] serves them, and the handle that stops them: what tests call, too.
pub fn router<J: Job>(job: J, setup: &mut Setup) -> Result<(Router, Shutdown), InvalidConfig> {
    routes(Ok(job), setup)
}

/// Reads all configuration before the first `?`: problems of the job and of the runtime are reported together.
fn routes<J: Job>(
    job: Result<J, InvalidConfig>,
    setup: &mut Setup,
) -> Result<(Router, Shutdown), InvalidConfig> {
    let queue = J::Payload::QUEUE;
    let verifier = setup.verifier(queue);
    let revision = setup.config().required(&variables::K_REVISION);
    let pace = Pace::from_config(setup.config());
    let (database, redis, tasks) = (setup.database(), setup.redis(), setup.tasks());
    let (job, verifier, revision) = (job?, verifier?, revision?);
    let (database, redis, tasks, pace) = (database?, redis?, tasks?, pace?);
    let clock = setup.clock();
    let instance: Arc<str> = uuid::Uuid::new_v4().simple().to_string().into();
    let shutdown = Shutdown::new(tasks.clone());
    let health = health::routes(database.clone());
    let runtime = Arc::new(Runtime {
        queue,
        handler: handler::of(job),
        verifier,
        leases: Leases::new(redis, clock.clone(), pace, Arc::clone(&instance)),
        failures: database.clone().into(),
        dead_letters: database.clone().into(),
        sweeps: database.clone().into(),
        database,
        tasks,
        clock,
        shutdown: shutdown.clone(),
        occupancy: Occupancy::default(),
        outages: Outages::default(),
        instance,
        revision,
        pace,
    });
    let tasks = Router::new()
        .route("/", post(dispatch))
        .route(&format!("{JOBS_PATH}{{job}}"), post(dispatch))
        .with_state(runtime);
    Ok((tasks.merge(health), shutdown))
}

/// One dispatch.
async fn dispatch(State(runtime): State<Arc<Runtime>>, request: Request<Body>) -> Response {
    let running = runtime.shutdown.running();
    Detached::new(running, report::process(runtime, request)).await.into_response()
}

fn address(config: &mut Config) -> Result<SocketAddr, InvalidConfig> {
    let host = config.required::<IpAddr>(&variables::HOST);
    let port = config.required::<u16>(&variables::PORT);
    Ok(SocketAddr::new(host?, port?))
}
