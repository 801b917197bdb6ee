//! Stands between a function and the gateway, and decides over each command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, http};
use futures_util::future::BoxFuture;
use futures_util::stream;
use local_cloud::Background;

/// Longer than a function waits for Redis.
const LATE: Duration = Duration::from_secs(4);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyAction {
    /// It reaches Redis, and its answer the function.
    Pass,
    /// It reaches Redis; the connection breaks before the answer.
    LoseAnswer,
    /// It reaches Redis; the response comes after the timeout of the caller.
    AnswerLate,
    /// It does not reach Redis; the answer is rubbish.
    Garbage,
    /// It does not reach Redis; the answer is 500.
    Fail,
    /// It does not reach Redis; the month's commands are used up.
    Quota,
    /// It does not reach Redis; the answer has this status and body.
    Answer(u16, &'static [u8]),
    /// It does not reach Redis; the connection is closed.
    Close,
    /// It does not reach Redis, and is never answered.
    Silence,
}

/// One request of a function.
#[derive(Debug, Clone)]
pub struct Request {
    /// First part of the path: who asks.
    pub client: String,
    /// The body, a command as JSON.
    pub body: String,
    /// It says which state of Redis it must see at least.
    pub has_sync_token: bool,
}

const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");

type Decide = dyn Fn(Request) -> BoxFuture<'static, ProxyAction> + Send + Sync;

/// A proxy; it ends when it is dropped.
pub struct RedisProxy(Background);

#[derive(Clone)]
struct Proxy {
    upstream: String,
    http: reqwest::Client,
    decide: Arc<Decide>,
}

impl RedisProxy {
    /// In front of the gateway at `upstream`.
    pub fn start<F>(upstream: &str, decide: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ProxyAction> + Send + 'static,
    {
        let proxy = Proxy {
            upstream: upstream.to_owned(),
            http: shared::http::client(Duration::from_secs(5), Duration::from_mins(1)),
            decide: Arc::new(move |request| Box::pin(decide(request))),
        };
        let server = Background::start("redis-proxy", |listener| async move {
            let router = Router::new()
                .route("/{client}", post(forward))
                .route("/{client}/", post(forward))
                .route("/{client}/{endpoint}", post(forward));
            axum::serve(listener, router.with_state(proxy)).await
        });
        Self(server.expect("loopback is there"))
    }

    /// In front of the gateway at `upstream`; requests that contain `text` fail as long as the flag is set, which it is.
    #[must_use]
    pub fn failing(upstream: &str, text: &str) -> (Self, Arc<AtomicBool>) {
        let fails = Arc::new(AtomicBool::new(true));
        let (text, flag) = (text.to_owned(), Arc::clone(&fails));
        let proxy = Self::start(upstream, move |request: Request| {
            let is_failed = flag.load(Ordering::SeqCst) && request.body.contains(&text);
            async move { if is_failed { ProxyAction::Fail } else { ProxyAction::Pass } }
        });
        (proxy, fails)
    }

    /// In front of the gateway at `upstream`; the first `answers` are lost.
    #[must_use]
    pub fn losing(upstream: &str, answers: usize) -> Self {
        let left = AtomicUsize::new(answers);
        Self::start(upstream, move |_| {
            let less = |left: usize| left.checked_sub(1);
            let is_lost = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
            async move { if is_lost { ProxyAction::LoseAnswer } else { ProxyAction::Pass } }
        })
    }

    /// `UPSTASH_REDIS_REST_URL` of the client with that name.
    #[must_use]
    pub fn url(&self, client: &str) -> String {
        format!("{}/{client}/", self.0.url())
    }
}

async fn forward(State(proxy): State<Proxy>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let (client, endpoint) =
        uri.path().trim_matches('/').split_once('/').unwrap_or((uri.path().trim_matches('/'), ""));
    let upstream = format!("{}/{endpoint}", proxy.upstream.trim_end_matches('/'));
    let client = client.to_owned();
    let request = Request {
        client,
        body: String::from_utf8_lossy(&body).into_owned(),
        has_sync_token: headers.contains_key(SYNC_TOKEN),
    };
    let action = (proxy.decide)(request).await;
    match action {
        ProxyAction::Garbage => return "rubbish".into_response(),
        ProxyAction::Fail => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        ProxyAction::Quota => {
            let error = r#"{"error":"ERR max requests limit exceeded. Limit: 500000, Usage: 500001."}"#;
            return (StatusCode::BAD_REQUEST, error).into_response();
        }
        ProxyAction::Answer(status, body) => {
            return (StatusCode::from_u16(status).expect("a status"), body).into_response();
        }
        // Ends the task that has the connection, and says nothing.
        ProxyAction::Close => std::panic::resume_unwind(Box::new("closed on purpose")),
        ProxyAction::Silence => std::future::pending().await,
        ProxyAction::Pass | ProxyAction::LoseAnswer | ProxyAction::AnswerLate => {}
    }
    let authorization =
        headers.get(http::header::AUTHORIZATION).cloned().expect("functions show their token");
    let mut sent = proxy.http.post(upstream).header(http::header::AUTHORIZATION, authorization).body(body);
    if let Some(token) = headers.get(SYNC_TOKEN) {
        sent = sent.header(SYNC_TOKEN, token.clone());
    }
    let Ok(answer) = sent.send().await else { return broken() };
    let status = answer.status();
    let token = answer.headers().get(SYNC_TOKEN).cloned().map(|token| [(SYNC_TOKEN, token)]);
    let Ok(text) = answer.bytes().await else { return broken() };
    if action == ProxyAction::AnswerLate {
        tokio::time::sleep(LATE).await;
    }
    match (action, token) {
        (ProxyAction::LoseAnswer, _) => broken(),
        (_, Some(token)) => (status, token, text).into_response(),
        (_, None) => (status, text).into_response(),
    }
}

/// An answer that breaks off.
fn broken() -> Response {
    let nothing = stream::once(async { Err::<Bytes, _>(std::io::Error::other("broken on purpose")) });
    Response::new(Body::from_stream(nothing))
}
