//! How a dispatch ends, and the response to Cloud Tasks: 2xx deletes the task, 503 slows the whole queue, everything
//! else retries this task alone.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::outages::Dependency;
use crate::oidc::Rejection;
use crate::telemetry::EventCode;
use crate::telemetry::line::OutcomeCode;
use crate::{envelope, oidc};

/// How long the queue waits when keys of the issuer, or any other dependency, are unavailable.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What became of a dispatch. Everything but the last three is answered with 200, and only once what happens next is
/// written.
#[derive(Debug, Clone, PartialEq, strum::EnumDiscriminants)]
#[strum_discriminants(name(Kind), vis(pub(super)), derive(strum::EnumIter))]
pub(super) enum Disposition {
    /// The job ran.
    Done(Value),
    /// There was nothing to do.
    Skipped(&'static str),
    /// The task ran before; its result, if that was kept.
    Duplicate(Option<Value>),
    /// A dead letter keeps the task.
    Dead(DeadReason),
    /// The task's successor exists.
    Rescheduled {
        /// Why it could not end now.
        reason: RescheduleReason,
        /// When the successor runs.
        at: DateTime<Utc>,
    },
    /// A shared dependency is unavailable.
    Unavailable {
        /// Which one.
        what: Dependency,
        /// When to try again.
        retry_after: Duration,
    },
    /// The request was no task.
    Refused(Refusal),
    /// Nothing that should happen.
    Unexplained(Unexplained),
}

/// Why a run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum FailureReason {
    /// No other run can help.
    Permanent,
    /// Another one may.
    Transient,
    /// The job panicked.
    Panic,
    /// The job exceeded its time.
    Timeout,
}

impl FailureReason {
    /// A stable name, for responses, logs and records.
    pub(super) fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it ends the task, however many attempts are left.
    pub(super) fn is_permanent(self) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient | Self::Panic | Self::Timeout => false,
        }
    }
}

/// Why a task is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumDiscriminants)]
#[strum_discriminants(name(DeadReasonKind), vis(pub(super)), derive(strum::EnumIter))]
pub(super) enum DeadReason {
    /// Its last run failed.
    Failed(FailureReason),
    /// Its failures were found recorded.
    AttemptsUsedUp,
    /// Its parsing never reported back.
    NeverReportedBack,
    /// Its key belongs to another payload.
    KeyReused,
    /// It could not be read.
    Unreadable(envelope::Error),
}

impl DeadReason {
    /// A stable name, for responses, logs and dead letters.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Failed(reason) => reason.name(),
            Self::AttemptsUsedUp => "attempts_used_up",
            Self::NeverReportedBack => "never_reported_back",
            Self::KeyReused => "key_reused",
            Self::Unreadable(error) => error.code(),
        }
    }
}

/// What cannot be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Unexplained {
    /// Something panicked, and it was not the job.
    Panic,
    /// An earlier dispatch may still parse the same body, or was killed by it.
    Suspected,
}

/// Why a task is rescheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumDiscriminants)]
#[strum_discriminants(name(RescheduleReasonKind), vis(pub(super)), derive(strum::EnumIter))]
pub(super) enum RescheduleReason {
    /// Its run failed.
    Failed(FailureReason),
    /// The job asked for it.
    Snoozed,
    /// Another run has the lease.
    Leased,
    /// Its payload cannot be read yet.
    Unreadable,
    /// It has to run alone.
    Crowded,
    /// It is not known yet whether an earlier run has ended, or what its end proves.
    Unproven,
    /// Another session holds a lock that the job needs.
    Busy,
    /// The instance stops.
    Shutdown,
    /// Cloud Tasks would delete it soon.
    Renewed,
}

impl RescheduleReason {
    /// A stable name, where the outcome does not say it.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Failed(reason) => Some(reason.name()),
            Self::Snoozed | Self::Leased => None,
            Self::Unreadable => Some("unreadable"),
            Self::Crowded => Some("crowded"),
            Self::Unproven => Some("unproven"),
            Self::Busy => Some("busy"),
            Self::Shutdown => Some("shutdown"),
            Self::Renewed => Some("renewed"),
        }
    }
}

/// Why a request is refused before anything is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumDiscriminants)]
#[strum_discriminants(name(RefusalKind), vis(pub(super)), derive(strum::EnumIter))]
pub(super) enum Refusal {
    /// No acceptable identity token.
    Unauthorized(Rejection),
    /// A token of a caller that is not allowed.
    Forbidden,
    /// The body is too large.
    TooLarge,
    /// The body did not come.
    IncompleteBody,
}

impl From<Refusal> for Disposition {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Dependency> for Disposition {
    fn from(dependency: Dependency) -> Self {
        Self::Unavailable { what: dependency, retry_after: RETRY_AFTER }
    }
}

impl From<oidc::Error> for Disposition {
    fn from(error: oidc::Error) -> Self {
        match error {
            oidc::Error::Unauthorized(reason) => Refusal::Unauthorized(reason).into(),
            oidc::Error::Forbidden => Refusal::Forbidden.into(),
            oidc::Error::Unavailable(source) => {
                tracing::error!(
                    event = %EventCode::IssuerKeysUnavailable,
                    error = &source as &dyn std::error::Error,
                    "identity tokens cannot be verified"
                );
                Dependency::IssuerKeys.into()
            }
        }
    }
}

/// A disposition as Cloud Tasks gets it and the log records it.
pub(super) struct Summary {
    pub(super) status: StatusCode,
    pub(super) outcome: OutcomeCode,
    pub(super) reason: Option<&'static str>,
}

impl Disposition {
    pub(super) fn summary(&self) -> Summary {
        let (status, outcome, reason) = match self {
            Self::Done(_) => (StatusCode::OK, OutcomeCode::Done, None),
            Self::Skipped(reason) => (StatusCode::OK, OutcomeCode::Skipped, Some(*reason)),
            Self::Duplicate(_) => (StatusCode::OK, OutcomeCode::Duplicate, None),
            Self::Dead(death) => (StatusCode::OK, OutcomeCode::Dead, Some(death.name())),
            Self::Rescheduled { reason, .. } => {
                let outcome = match reason {
                    RescheduleReason::Failed(_) => OutcomeCode::Retry,
                    RescheduleReason::Snoozed => OutcomeCode::Snoozed,
                    RescheduleReason::Leased => OutcomeCode::Deferred,
                    RescheduleReason::Unreadable
                    | RescheduleReason::Crowded
                    | RescheduleReason::Unproven
                    | RescheduleReason::Busy
                    | RescheduleReason::Shutdown
                    | RescheduleReason::Renewed => OutcomeCode::Requeued,
                };
                (StatusCode::OK, outcome, reason.name())
            }
            Self::Unavailable { what, .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, OutcomeCode::Unavailable, Some(what.name()))
            }
            Self::Refused(refusal) => {
                let (status, reason) = match refusal {
                    Refusal::Unauthorized(rejection) => (StatusCode::UNAUTHORIZED, rejection.name()),
                    Refusal::Forbidden => (StatusCode::FORBIDDEN, "caller"),
                    Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
                    Refusal::IncompleteBody => (StatusCode::BAD_REQUEST, "body_broke_off"),
                };
                (status, OutcomeCode::Refused, Some(reason))
            }
            Self::Unexplained(what) => {
                (StatusCode::INTERNAL_SERVER_ERROR, OutcomeCode::Retry, Some(what.into()))
            }
        };
        Summary { status, outcome, reason }
    }
}

impl IntoResponse for Disposition {
    fn into_response(self) -> Response {
        let Summary { status, outcome, reason } = self.summary();
        let mut body = json!({ "status": outcome.name() });
        if let Some(reason) = reason {
            body["reason"] = reason.into();
        }
        let mut retry_after = None;
        match self {
            Self::Done(result) => body["result"] = result,
            Self::Duplicate(result) => {
                body["duplicate"] = true.into();
                body["result"] = result.into();
            }
            Self::Rescheduled { at, .. } => body["until"] = json!(at),
            Self::Unavailable { retry_after: after, .. } => retry_after = Some(after.as_secs().max(1)),
            Self::Skipped(_) | Self::Dead(_) | Self::Refused(_) | Self::Unexplained(_) => {}
        }
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disposition_has_its_status() {
        #[track_caller]
        fn check(disposition: &Disposition, status: u16, outcome: OutcomeCode) {
            let summary = disposition.summary();
            assert_eq!((summary.status.as_u16(), summary.outcome), (status, outcome), "{disposition:?}");
        }
        let rescheduled = |reason| Disposition::Rescheduled { reason, at: DateTime::UNIX_EPOCH };
        check(&Disposition::Done(json!(1)), 200, OutcomeCode::Done);
        check(&Disposition::Duplicate(None), 200, OutcomeCode::Duplicate);
        check(&Disposition::Skipped("x"), 200, OutcomeCode::Skipped);
        check(&Disposition::Dead(DeadReason::KeyReused), 200, OutcomeCode::Dead);
        check(&rescheduled(RescheduleReason::Failed(FailureReason::Transient)), 200, OutcomeCode::Retry);
        check(&rescheduled(RescheduleReason::Snoozed), 200, OutcomeCode::Snoozed);
        check(&rescheduled(RescheduleReason::Leased), 200, OutcomeCode::Deferred);
        for reason in [
            RescheduleReason::Unreadable,
            RescheduleReason::Crowded,
            RescheduleReason::Unproven,
            RescheduleReason::Busy,
            RescheduleReason::Shutdown,
            RescheduleReason::Renewed,
        ] {
            check(&rescheduled(reason), 200, OutcomeCode::Requeued);
        }
        check(&Dependency::Database.into(), 503, OutcomeCode::Unavailable);
        check(&Refusal::Unauthorized(Rejection::Missing).into(), 401, OutcomeCode::Refused);
        check(&Refusal::Forbidden.into(), 403, OutcomeCode::Refused);
        check(&Refusal::TooLarge.into(), 413, OutcomeCode::Refused);
        check(&Refusal::IncompleteBody.into(), 400, OutcomeCode::Refused);
        check(&Disposition::Unexplained(Unexplained::Suspected), 500, OutcomeCode::Retry);
    }

    #[test]
    fn only_an_outage_asks_the_queue_to_wait() {
        let unavailable =
            Disposition::Unavailable { what: Dependency::Database, retry_after: Duration::from_millis(200) };
        assert_eq!(unavailable.into_response().headers()[header::RETRY_AFTER], "1");
        let failed = Disposition::Unexplained(Unexplained::Panic).into_response();
        assert!(!failed.headers().contains_key(header::RETRY_AFTER));
    }
}
