//! What Cloud Run's probes and Prometheus ask. Google's front end keeps `/healthz` for itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;

use super::caller::FORWARDED_FOR;
use crate::db::Database;
use crate::telemetry::metrics;

/// How long a public answer about the database is given again.
const PUBLIC_ANSWER_AGE: Duration = Duration::from_secs(1);

pub(super) fn routes(database: Database) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(async || numbers()))
        .with_state(database)
}

/// The same where everybody may ask: however often they do, the database is asked once a second, one question at a time; and
/// the numbers are for who does not come through a proxy, as everybody does on Cloud Run.
pub(super) fn public_routes(database: Database) -> Router {
    let readiness = Arc::new(PublicReadiness { database, last: Mutex::default() });
    Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(public_ready))
        .route(
            "/metrics",
            get(async |headers: HeaderMap| {
                // A request without it was made from next to the process.
                let is_public = headers.contains_key(FORWARDED_FOR);
                if is_public { StatusCode::NOT_FOUND.into_response() } else { numbers() }
            }),
        )
        .with_state(readiness)
}

fn numbers() -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render()).into_response()
}

struct PublicReadiness {
    database: Database,
    last: Mutex<Option<(Instant, (StatusCode, &'static str))>>,
}

async fn public_ready(State(readiness): State<Arc<PublicReadiness>>) -> (StatusCode, &'static str) {
    let mut last = readiness.last.lock().await;
    if let Some((at, answer)) = *last
        && at.elapsed() < PUBLIC_ANSWER_AGE
    {
        return answer;
    }
    let answer = ready(State(readiness.database.clone())).await;
    *last = Some((Instant::now(), answer));
    answer
}

/// Ready when Postgres responds, which every task needs. Redis is not probed: a probe would be billed.
async fn ready(State(database): State<Database>) -> (StatusCode, &'static str) {
    match database.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "database\n")
        }
    }
}
