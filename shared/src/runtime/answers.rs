//! All that a service can answer to a dispatch, made from the enums that it answers with: an answer that is added there is
//! in the list, or does not compile.

use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;
use strum::IntoEnumIterator;

use super::disposition::{
    Death, DeathKind, Disposition, FailureReason, Kind, Refusal, RefusalKind, Summary, Unexplained, Why,
    WhyKind,
};
use super::outages::Dependency;
use crate::envelope;
use crate::oidc::Rejection;

/// One answer, as it stands in a response and in the canonical log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `task.outcome`.
    pub outcome: &'static str,
    /// `task.reason`.
    pub reason: Reason,
}

/// Why an answer is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There is nothing to say.
    None,
    /// One of the runtime's.
    Named(&'static str),
    /// Whatever the job says.
    OfTheJob,
}

/// All answers.
///
/// ```
/// use shared::runtime::{Answer, Reason, answers};
///
/// let done = Answer { status: 200, outcome: "done", reason: Reason::None };
/// assert!(answers().any(|answer| answer == done));
/// ```
pub fn answers() -> impl Iterator<Item = Answer> {
    Kind::iter().flat_map(|kind| {
        dispositions(kind).into_iter().map(move |disposition| {
            let Summary { status, outcome, reason } = disposition.summary();
            let reason = match (kind, reason) {
                (Kind::Skipped, _) => Reason::OfTheJob,
                (_, Some(reason)) => Reason::Named(reason),
                (_, None) => Reason::None,
            };
            Answer { status: status.as_u16(), outcome: outcome.name(), reason }
        })
    })
}

/// All dispositions of a kind that differ in more than a time or a result.
fn dispositions(kind: Kind) -> Vec<Disposition> {
    match kind {
        Kind::Done => vec![Disposition::Done(Value::Null)],
        Kind::Skipped => vec![Disposition::Skipped("")],
        Kind::Duplicate => vec![Disposition::Duplicate(None)],
        Kind::Dead => DeathKind::iter().flat_map(deaths).map(Disposition::Dead).collect(),
        Kind::Rescheduled => {
            let at = DateTime::UNIX_EPOCH;
            WhyKind::iter().flat_map(whys).map(|why| Disposition::Rescheduled { why, at }).collect()
        }
        Kind::Unavailable => {
            let retry_after = Duration::ZERO;
            Dependency::iter().map(|what| Disposition::Unavailable { what, retry_after }).collect()
        }
        Kind::Refused => RefusalKind::iter().flat_map(refusals).map(Disposition::Refused).collect(),
        Kind::Unexplained => Unexplained::iter().map(Disposition::Unexplained).collect(),
    }
}

fn deaths(kind: DeathKind) -> Vec<Death> {
    match kind {
        DeathKind::Failed => FailureReason::iter().map(Death::Failed).collect(),
        DeathKind::AttemptsUsedUp => vec![Death::AttemptsUsedUp],
        DeathKind::NeverReportedBack => vec![Death::NeverReportedBack],
        DeathKind::KeyReused => vec![Death::KeyReused],
        DeathKind::Unreadable => envelope::Error::iter().map(Death::Unreadable).collect(),
    }
}

fn whys(kind: WhyKind) -> Vec<Why> {
    match kind {
        WhyKind::Failed => {
            FailureReason::iter().filter(|reason| !reason.is_permanent()).map(Why::Failed).collect()
        }
        WhyKind::Snoozed => vec![Why::Snoozed],
        WhyKind::Leased => vec![Why::Leased],
        WhyKind::Unreadable => vec![Why::Unreadable],
        WhyKind::Crowded => vec![Why::Crowded],
        WhyKind::Unproven => vec![Why::Unproven],
        WhyKind::Busy => vec![Why::Busy],
        WhyKind::Shutdown => vec![Why::Shutdown],
        WhyKind::Renewed => vec![Why::Renewed],
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
