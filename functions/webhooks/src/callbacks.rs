//! What all callbacks of the providers of messages have in common: who calls is unknown until a signature has shown it, what is
//! read of a body is bounded, and what fails for a fault of ours is sent again.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use catchup::event::EventCode;
use http_body_util::{BodyExt as _, Limited};
use shared::runtime::Handled;
use shared::telemetry::line::OutcomeCode;
use tokio::time::timeout;

use crate::unknown_callers::{Permit, UnknownCallers};

/// How long a callback may take.
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(30);
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// Longest signature, timestamp or token that any of them has.
pub(crate) const MAX_TEXT_CHARS: usize = 255;

/// Accepts what callers show to be theirs, and refuses the rest.
#[derive(Debug, Clone)]
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
    pub(crate) fn new(unknown_callers: Arc<UnknownCallers>) -> Self {
        Self { unknown_callers }
    }

    /// Runs `accept` for a caller at `address`, within the limits of unknown callers.
    pub(crate) async fn pass<E: Error + 'static>(
        &self,
        address: IpAddr,
        accept: impl Future<Output = Result<Verified, E>>,
    ) -> Handled {
        let Some(_permit): Option<Permit<'_>> = self.unknown_callers.acquire(address) else {
            return Handled::turned_away(RETRY_AFTER_BUSY).because("busy");
        };
        match timeout(TIMEOUT, accept).await {
            Ok(Ok(Verified::Accepted(handled))) => handled,
            Ok(Ok(Verified::Unknown)) => self.refuse(address, StatusCode::NOT_FOUND, "unknown_caller"),
            Ok(Err(error)) => {
                tracing::error!(
                    event = %EventCode::CallbackNotAccepted,
                    error = &error as &dyn Error,
                    "callback not accepted"
                );
                Handled::unavailable(RETRY_AFTER_OUTAGE).because("outage")
            }
            Err(_) => Handled::unavailable(RETRY_AFTER_OUTAGE).because("timeout"),
        }
    }

    /// Refuses who has shown nothing.
    pub(crate) fn refuse(&self, address: IpAddr, status: StatusCode, reason: &'static str) -> Handled {
        let refused = Handled::new(OutcomeCode::Skipped, status).because(reason);
        if self.unknown_callers.count(address) { refused.without_line() } else { refused }
    }
}

/// The body, if it is not longer than `max_bytes`; `None` when it is, or broke off.
pub(crate) async fn read(body: Body, max_bytes: usize) -> Option<Bytes> {
    if body.size_hint().lower() > max_bytes as u64 {
        return None;
    }
    Some(Limited::new(body, max_bytes).collect().await.ok()?.to_bytes())
}
