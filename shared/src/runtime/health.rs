//! What Cloud Run's probes and Prometheus ask. Google's front end keeps `/healthz` for itself.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;

use crate::db::Database;
use crate::telemetry::metrics;

pub(super) fn routes(database: Database) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route(
            "/metrics",
            get(|| async { ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render()) }),
        )
        .with_state(database)
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
