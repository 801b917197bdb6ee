//! A service without a queue: others than Cloud Tasks call it, and what is not a task has no lease, no attempts and no
//! dead letter. Everything else is as around a job: configuration, connections, shutdown, panics, health, and one canonical log
//! line per request.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::detached::Detached;
use super::help::Program;
use super::report::Report;
use super::{Shutdown, health, report, start};
use crate::config::{InvalidConfig, Variable};
use crate::job::Setup;
use crate::telemetry::line::OutcomeCode;

/// What a request is answered with that is turned away because of who sends it: the sender repeats it as it does after 503, and
/// Cloud Run has no such answer of its own. So a deployment can tell what callers cause from what the revision causes.
pub const TURNED_AWAY: StatusCode = StatusCode::BAD_GATEWAY;

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
pub struct Endpoints(Vec<(Method, &'static str, Arc<Handle>)>);

impl Endpoints {
    /// Adds `POST path`. A request whose caller hangs up is handled to its end, and one that panics is answered with 500.
    #[must_use]
    pub fn post<F>(self, path: &'static str, handle: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Handled> + Send + 'static,
    {
        self.add(Method::POST, path, handle)
    }

    /// Adds `GET path`, for people: it must change nothing.
    #[must_use]
    pub fn get<F>(self, path: &'static str, handle: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Handled> + Send + 'static,
    {
        self.add(Method::GET, path, handle)
    }

    fn add<F>(
        mut self,
        method: Method,
        path: &'static str,
        handle: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Handled> + Send + 'static,
    {
        self.0.push((method, path, Arc::new(move |request| handle(request).boxed())));
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

    /// Unavailable: the caller is to send it again.
    #[must_use]
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::again(OutcomeCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE, retry_after)
    }

    /// [`TURNED_AWAY`], without a log line, of which a flood would cause too many.
    #[must_use]
    pub fn turned_away(retry_after: Duration) -> Self {
        Self::again(OutcomeCode::Refused, TURNED_AWAY, retry_after).without_line()
    }

    fn again(outcome: OutcomeCode, status: StatusCode, after: Duration) -> Self {
        Self::new(outcome, (status, [(RETRY_AFTER, after.as_secs().to_string())]))
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
    let mut paths: BTreeMap<&'static str, Vec<(Method, Arc<Handle>)>> = BTreeMap::new();
    for (method, path, handle) in endpoints.0 {
        paths.entry(path).or_default().push((method, handle));
    }
    for (path, handles) in paths {
        let endpoint = Endpoint { service: service.name, path, handles, shutdown: shutdown.clone() };
        router = router.merge(Router::new().route(path, any(receive)).with_state(Arc::new(endpoint)));
    }
    Ok((router, shutdown))
}

struct Endpoint {
    service: &'static str,
    path: &'static str,
    handles: Vec<(Method, Arc<Handle>)>,
    shutdown: Shutdown,
}

async fn receive(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    // A path that is there looks to other methods like one that is not.
    let found = endpoint.handles.iter().find(|(method, _)| request.method() == *method);
    let Some((_, respond)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let (respond, running) = (Arc::clone(respond), endpoint.shutdown.running());
    Detached::new(running, handle(endpoint, respond, request)).await
}

/// Handles a request, and reports it, also when the handler panics.
async fn handle(endpoint: Arc<Endpoint>, respond: Arc<Handle>, request: Request) -> Response {
    let Endpoint { service, path, .. } = *endpoint;
    report::reported(service, path.to_owned(), async move {
        let handling = AssertUnwindSafe(async { respond(request).await });
        let handled = handling.catch_unwind().await.unwrap_or_else(|_panic| {
            Handled::new(OutcomeCode::Retry, StatusCode::INTERNAL_SERVER_ERROR).because("panic")
        });
        let Handled { response, outcome, reason, user_id, has_line } = handled;
        let status = response.status();
        // A request is neither dispatched again nor attempted again.
        let report =
            Report { dispatch: 1, attempt: 1, outcome, reason, status, waited: None, user_id, has_line };
        (response, report)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;
    use crate::runtime::server::serve_until;

    /// Longer than anything here takes.
    const TIMEOUT: Duration = Duration::from_secs(20);

    static CALLBACKS: Service =
        Service { name: "callbacks", serves: "callbacks", variables: &[], endpoints: callbacks };

    static BEGUN: Notify = Notify::const_new();
    static MAY_END: Notify = Notify::const_new();
    static HAS_ENDED: AtomicBool = AtomicBool::new(false);

    fn done() -> Handled {
        Handled::new(OutcomeCode::Done, StatusCode::NO_CONTENT)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature of every service's endpoints")]
    fn callbacks(_: &mut Setup) -> Result<Endpoints, InvalidConfig> {
        Ok(Endpoints::default()
            .post("/panics", async |_| panic!("a test's own"))
            .post("/works", async |_| done())
            .post("/waits", async |_| {
                BEGUN.notify_one();
                MAY_END.notified().await;
                HAS_ENDED.store(true, Ordering::SeqCst);
                done()
            }))
    }

    /// The service as a process serves it, a connection to it, and what stops it.
    async fn served() -> (JoinHandle<()>, TcpStream, Shutdown) {
        let mut setup = Setup::new(Config::from_pairs([
            ("CLOUD_RUN_URL", "https://functions.example.test"),
            ("CLOUD_TASKS_URL", "http://127.0.0.1:1"),
            ("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none"),
            ("GCP_PROJECT_ID", "project"),
            ("GCP_REGION", "region"),
            ("SERVICE_ACCOUNT_EMAIL", "tasks@example.test"),
        ]));
        let (router, shutdown) = service_router(&CALLBACKS, &mut setup)
            .unwrap_or_else(|_| panic!("{:?}", setup.config().problems()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            serve_until(stop.begun().cancelled_owned(), listener, router, &stop).await;
        });
        (serving, TcpStream::connect(address).await.unwrap(), shutdown)
    }

    async fn post(caller: &mut TcpStream, path: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        caller.write_all(head.as_bytes()).await.unwrap();
    }

    /// The status line of the next answer, none of which has a body.
    async fn status(caller: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(caller.read_u8().await.unwrap());
        }
        String::from_utf8(answer).unwrap().lines().next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_request_that_panics_is_answered_with_500_and_the_connection_serves_the_next_one() {
        let (serving, mut caller, shutdown) = served().await;
        for (path, expected) in
            [("/panics", "HTTP/1.1 500"), ("/works", "HTTP/1.1 204"), ("/panics", "HTTP/1.1 500")]
        {
            post(&mut caller, path).await;
            let status = status(&mut caller).await;
            assert!(status.starts_with(expected), "{path}: {status}");
        }
        shutdown.begin();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_whose_caller_hangs_up_is_handled_to_its_end_also_while_the_process_stops() {
        let (serving, mut caller, shutdown) = served().await;
        post(&mut caller, "/waits").await;
        timeout(TIMEOUT, BEGUN.notified()).await.unwrap();
        caller.shutdown().await.unwrap();
        // The connection is closed without an answer, so the server has noticed.
        let mut answer = Vec::new();
        timeout(TIMEOUT, caller.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        shutdown.begin();
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!serving.is_finished(), "it stops before the request has ended");
        MAY_END.notify_one();
        serving.await.unwrap();
        assert!(HAS_ENDED.load(Ordering::SeqCst));
    }
}
