//! A service without a queue: others than Cloud Tasks call it, and what is not a task has no lease, no attempts and no
//! dead letter. Everything else is as around a job: configuration, connections, shutdown, panics, health, and one canonical log
//! line per request.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::detached::Detached;
use super::help::Program;
use super::{Shutdown, health, start};
use crate::config::{InvalidConfig, Variable};
use crate::job::Setup;
use crate::telemetry::line::{Counts, Line, OutcomeCode};
use crate::telemetry::{Scope, metrics};

/// What a service without a queue is.
#[derive(Debug)]
pub struct Service {
    /// Its name: its package, its folder, and its Cloud Run service.
    pub name: &'static str,
    /// What it serves, for `--help`.
    pub serves: &'static str,
    /// The product's environment variables.
    pub variables: &'static [Variable],
    /// Its endpoints, from what jobs are built from, too. Ask for everything before the first `?`, so that all problems are
    /// reported together.
    pub endpoints: fn(&mut Setup) -> Result<Endpoints, InvalidConfig>,
}

type Handle = dyn Fn(Request) -> BoxFuture<'static, Handled> + Send + Sync;

/// Paths, and who handles what is sent to them.
#[derive(Default)]
pub struct Endpoints(Vec<(&'static str, Arc<Handle>)>);

impl Endpoints {
    /// Adds `POST path`. A request whose caller hangs up is handled to its end, and one that panics is answered with 500.
    #[must_use]
    pub fn post<F>(
        mut self,
        path: &'static str,
        handle: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Handled> + Send + 'static,
    {
        self.0.push((path, Arc::new(move |request| handle(request).boxed())));
        self
    }
}

/// How a request ended: what is answered, and what the canonical log line says.
#[derive(Debug)]
pub struct Handled {
    response: Response,
    outcome: OutcomeCode,
    reason: Option<&'static str>,
    user_id: Option<Uuid>,
    has_line: bool,
}

impl Handled {
    /// Ended this way, and answered so.
    pub fn new(outcome: OutcomeCode, response: impl IntoResponse) -> Self {
        Self { response: response.into_response(), outcome, reason: None, user_id: None, has_line: true }
    }

    /// For a reason with a stable name.
    #[must_use]
    pub fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// It was about a user.
    #[must_use]
    pub fn about(mut self, user_id: Uuid) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// Counted, and not worth a log line.
    #[must_use]
    pub fn without_line(mut self) -> Self {
        self.has_line = false;
        self
    }
}

/// Runs the service until SIGTERM or Ctrl-C: all of its `main`. The exit codes are those of [`super::run`].
pub async fn serve(service: &'static Service) -> ExitCode {
    let program =
        Program { name: service.name, serves: service.serves.to_owned(), variables: service.variables };
    start(program, |setup| service_router(service, setup)).await
}

/// The routes as [`serve`] serves them, and the handle that stops them: what tests call, too.
pub fn service_router(
    service: &'static Service,
    setup: &mut Setup,
) -> Result<(Router, Shutdown), InvalidConfig> {
    let endpoints = (service.endpoints)(setup);
    let (database, tasks) = (setup.database(), setup.tasks());
    let (endpoints, database, tasks) = (endpoints?, database?, tasks?);
    let shutdown = Shutdown::new(tasks);
    let mut router = health::public_routes(database);
    for (path, handle) in endpoints.0 {
        let endpoint = Endpoint { service: service.name, path, handle, shutdown: shutdown.clone() };
        router = router.merge(Router::new().route(path, any(receive)).with_state(Arc::new(endpoint)));
    }
    Ok((router, shutdown))
}

struct Endpoint {
    service: &'static str,
    path: &'static str,
    handle: Arc<Handle>,
    shutdown: Shutdown,
}

async fn receive(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    // A path that is there looks to other methods like one that is not.
    if request.method() != Method::POST {
        return StatusCode::NOT_FOUND.into_response();
    }
    let running = endpoint.shutdown.running();
    Detached::new(running, handle(endpoint, request)).await
}

/// Handles a request, and reports it, also when the handler panics.
async fn handle(endpoint: Arc<Endpoint>, request: Request) -> Response {
    let started = Instant::now();
    let scope = Arc::new(Scope::new(endpoint.service, endpoint.path.to_owned()));
    let handling = async {
        let handling = AssertUnwindSafe(async { (endpoint.handle)(request).await });
        let handled = handling.catch_unwind().await.unwrap_or_else(|_panic| {
            Handled::new(OutcomeCode::Retry, StatusCode::INTERNAL_SERVER_ERROR).because("panic")
        });
        let duration = started.elapsed();
        metrics::count_task(endpoint.service, handled.outcome.name(), duration, None);
        if handled.has_line {
            let line = Line {
                queue: endpoint.service,
                task: &scope.task,
                dispatch: 1,
                attempt: 1,
                outcome: handled.outcome,
                reason: handled.reason,
                status: handled.response.status().as_u16(),
                duration_ms: duration.as_secs_f64() * 1_000.0,
                waited_ms: None,
                user_id: handled.user_id,
                counts: Counts::from(scope.meter.as_ref()),
            };
            line.write();
        }
        handled.response
    };
    Arc::clone(&scope).enter(handling).await
}
