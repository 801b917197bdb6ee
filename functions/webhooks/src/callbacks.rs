//! What all callbacks have in common: who calls is unknown until something has shown it, what is read of a body is bounded, and
//! what fails for a fault of ours is answered so that it may be sent again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, StatusCode};
use catchup::event::EventCode;
use http_body_util::{BodyExt as _, Limited};
use shared::runtime::Handled;
use shared::telemetry::line::OutcomeCode;
use shared::{cache, db};
use tokio::time::timeout;

use crate::unknown_callers::{Permit, UnknownCallers};

/// How long a callback may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// How long its body may take to arrive, behind which nothing is known of the caller.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(30);
pub(crate) const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// Longest header, signature or token that any of them has.
pub(crate) const MAX_TEXT_CHARS: usize = 255;

/// A callback was not accepted, for a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Postgres did not take a callback")]
    Database(#[from] db::Error),
    #[error("what the person saw before is still cached")]
    Cache(#[from] cache::Error),
}

/// Accepts what callers show to be theirs, and refuses the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    unknown_callers: Arc<UnknownCallers>,
}

/// What became of a callback.
pub(crate) enum Verified {
    /// It was shown to be the provider's or the person's, and is answered so.
    Accepted(Handled),
    /// It was not.
    Unknown,
}

impl Gate {
    /// Runs `accept` for a caller at `address`, within the limits of unknown callers.
    pub(crate) async fn pass(
        &self,
        address: IpAddr,
        accept: impl Future<Output = Result<Verified, Error>>,
    ) -> Handled {
        let Some(_permit) = self.acquire(address) else {
            return Handled::turned_away(RETRY_AFTER_BUSY).because("busy");
        };
        match timeout(TIMEOUT, accept).await {
            Ok(Ok(Verified::Accepted(handled))) => handled,
            Ok(Ok(Verified::Unknown)) => self.refuse(address, StatusCode::NOT_FOUND, "unknown_caller"),
            Ok(Err(error)) => {
                tracing::error!(
                    event = %EventCode::CallbackNotAccepted,
                    error = &error as &dyn std::error::Error,
                    "callback not accepted"
                );
                Handled::unavailable(RETRY_AFTER_OUTAGE).because("outage")
            }
            Err(_) => Handled::unavailable(RETRY_AFTER_OUTAGE).because("timeout"),
        }
    }

    /// Lets a caller in of whom nothing is known, if its address may.
    pub(crate) fn acquire(&self, address: IpAddr) -> Option<Permit<'_>> {
        self.unknown_callers.acquire(address)
    }

    /// Refuses who has shown nothing.
    pub(crate) fn refuse(&self, address: IpAddr, status: StatusCode, reason: &'static str) -> Handled {
        let refused = Handled::new(OutcomeCode::Skipped, status).because(reason);
        if self.unknown_callers.count(address) { refused.without_line() } else { refused }
    }
}

/// A header, if it is text that is not longer than any of ours.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| (1..=MAX_TEXT_CHARS).contains(&text.len()))
}

/// The body, if it is not longer than `max_bytes`; `None` when it is, broke off, or does not arrive.
pub(crate) async fn read(body: Body, max_bytes: usize) -> Option<Bytes> {
    if body.size_hint().lower() > max_bytes as u64 {
        return None;
    }
    let body = timeout(READ_TIMEOUT, Limited::new(body, max_bytes).collect()).await.ok()?;
    Some(body.ok()?.to_bytes())
}
