//! All responses of a service to a dispatch, made from the enums that describe them: a variant that is added there is
//! in the list, or does not compile.

use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;
use strum::IntoEnumIterator;

use super::disposition::{
    DeadReason, DeadReasonKind, Disposition, FailureReason, Kind, Refusal, RefusalKind, RescheduleReason,
    RescheduleReasonKind, Summary, Unexplained,
};
use super::outages::Dependency;
use crate::envelope;
use crate::oidc::Rejection;

/// One possible response, as the caller gets it and the canonical log line records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskResponse {
    /// HTTP status.
    pub status: u16,
    /// `task.outcome`.
    pub outcome: &'static str,
    /// `task.reason`.
    pub reason: Reason,
}

/// The reason in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There is nothing to say.
    None,
    /// One of the runtime's.
    Named(&'static str),
    /// Whatever the job says.
    OfTheJob,
}

/// All responses.
///
/// ```
/// use shared::runtime::{TaskResponse, Reason, task_responses};
///
/// let done = TaskResponse { status: 200, outcome: "done", reason: Reason::None };
/// assert!(task_responses().any(|response| response == done));
/// ```
pub fn task_responses() -> impl Iterator<Item = TaskResponse> {
    Kind::iter().flat_map(|kind| {
        dispositions(kind).into_iter().map(move |disposition| {
            let Summary { status, outcome, reason } = disposition.summary();
            let reason = match (kind, reason) {
                (Kind::Skipped, _) => Reason::OfTheJob,
                (_, Some(reason)) => Reason::Named(reason),
                (_, None) => Reason::None,
            };
            TaskResponse { status: status.as_u16(), outcome: outcome.name(), reason }
        })
    })
}

/// All dispositions of a kind that differ in more than a time or a result.
fn dispositions(kind: Kind) -> Vec<Disposition> {
    match kind {
        Kind::Done => vec![Disposition::Done(Value::Null)],
        Kind::Skipped => vec![Disposition::Skipped("")],
        Kind::Duplicate => vec![Disposition::Duplicate(None)],
        Kind::Dead => DeadReasonKind::iter().flat_map(dead_reasons).map(Disposition::Dead).collect(),
        Kind::Rescheduled => {
            let at = DateTime::UNIX_EPOCH;
            RescheduleReasonKind::iter()
                .flat_map(reschedule_reasons)
                .map(|reason| Disposition::Rescheduled { reason, at })
                .collect()
        }
        Kind::Unavailable => {
            let retry_after = Duration::ZERO;
            Dependency::iter().map(|what| Disposition::Unavailable { what, retry_after }).collect()
        }
        Kind::Refused => RefusalKind::iter().flat_map(refusals).map(Disposition::Refused).collect(),
        Kind::Unexplained => Unexplained::iter().map(Disposition::Unexplained).collect(),
    }
}

fn dead_reasons(kind: DeadReasonKind) -> Vec<DeadReason> {
    match kind {
        DeadReasonKind::Failed => FailureReason::iter().map(DeadReason::Failed).collect(),
        DeadReasonKind::AttemptsUsedUp => vec![DeadReason::AttemptsUsedUp],
        DeadReasonKind::NeverReportedBack => vec![DeadReason::NeverReportedBack],
        DeadReasonKind::KeyReused => vec![DeadReason::KeyReused],
        DeadReasonKind::Unreadable => envelope::Error::iter().map(DeadReason::Unreadable).collect(),
    }
}

fn reschedule_reasons(kind: RescheduleReasonKind) -> Vec<RescheduleReason> {
    match kind {
        RescheduleReasonKind::Failed => FailureReason::iter()
            .filter(|reason| !reason.is_permanent())
            .map(RescheduleReason::Failed)
            .collect(),
        RescheduleReasonKind::Snoozed => vec![RescheduleReason::Snoozed],
        RescheduleReasonKind::Leased => vec![RescheduleReason::Leased],
        RescheduleReasonKind::Unreadable => vec![RescheduleReason::Unreadable],
        RescheduleReasonKind::Crowded => vec![RescheduleReason::Crowded],
        RescheduleReasonKind::Unproven => vec![RescheduleReason::Unproven],
        RescheduleReasonKind::Busy => vec![RescheduleReason::Busy],
        RescheduleReasonKind::Shutdown => vec![RescheduleReason::Shutdown],
        RescheduleReasonKind::Renewed => vec![RescheduleReason::Renewed],
    }
}

fn refusals(kind: RefusalKind) -> Vec<Refusal> {
    match kind {
        RefusalKind::Unauthorized => Rejection::iter().map(Refusal::Unauthorized).collect(),
        RefusalKind::Forbidden => vec![Refusal::Forbidden],
        RefusalKind::TooLarge => vec![Refusal::TooLarge],
        RefusalKind::IncompleteBody => vec![Refusal::IncompleteBody],
    }
}
