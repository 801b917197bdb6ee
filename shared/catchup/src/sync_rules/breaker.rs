//! The circuit breaker of a user's integration: whether it may be synced at all. Pure.
//!
//! What counts is a task that failed for good, not each of its attempts. Closed → [`FAILURE_THRESHOLD`] failures in a row →
//! open for [`OPEN_FOR`] → half-open: one sync is let through → closed by its success, open again by its failure. A sync that
//! was let through and is never heard of again counts as that failure.

use chrono::{DateTime, TimeDelta, Utc};

/// Failures in a row that open the breaker.
pub const FAILURE_THRESHOLD: u32 = 3;
/// How long it stays open, and how long a sync that was let through keeps others out.
pub const OPEN_FOR: TimeDelta = TimeDelta::hours(1);

/// A breaker at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Its state.
    pub state: State,
    /// Failures in a row.
    pub failures: u32,
    /// When it opened.
    pub opened_at: Option<DateTime<Utc>>,
    /// When the next sync is let through, unless it is closed.
    pub retry_at: Option<DateTime<Utc>>,
}

/// The state of a breaker, as `circuit_breaker_state.state` spells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// All syncs may begin.
    #[default]
    Closed,
    /// None may, for a while.
    Open,
    /// One was let through.
    HalfOpen,
}

/// Whether a breaker lets a sync through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It does.
    Free,
    /// It does, as the only one until that time, if no other task was faster.
    Probe {
        /// Others are kept out until then.
        until: DateTime<Utc>,
    },
    /// It does not.
    Blocked,
}

impl Breaker {
    /// Whether a sync may begin.
    #[must_use]
    pub fn pass(&self, now: DateTime<Utc>) -> Pass {
        match self.state {
            State::Closed => Pass::Free,
            State::Open | State::HalfOpen if self.retry_at.is_some_and(|at| now < at) => Pass::Blocked,
            State::Open | State::HalfOpen => Pass::Probe { until: now + OPEN_FOR },
        }
    }

    /// After one more failure.
    #[must_use]
    pub fn after_failure(self, now: DateTime<Utc>) -> Self {
        let failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if failures < FAILURE_THRESHOLD => Self { failures, ..self },
            State::Closed | State::Open | State::HalfOpen => {
                Self { state: State::Open, failures, opened_at: Some(now), retry_at: Some(now + OPEN_FOR) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minutes * 60, 0).unwrap()
    }

    fn tripped() -> Breaker {
        (0..FAILURE_THRESHOLD).fold(Breaker::default(), |breaker, _| breaker.after_failure(at(0)))
    }

    #[test]
    fn only_the_last_of_three_failures_in_a_row_opens_it() {
        let twice = Breaker::default().after_failure(at(0)).after_failure(at(1));
        assert_eq!((twice.pass(at(1)), twice.failures), (Pass::Free, 2));
        assert_eq!(twice.after_failure(at(2)).pass(at(3)), Pass::Blocked);
    }

    #[test]
    fn an_open_one_lets_a_sync_through_after_its_hour() {
        let open = tripped();
        assert_eq!(open.pass(at(59)), Pass::Blocked);
        assert_eq!(open.pass(at(60)), Pass::Probe { until: at(120) });
    }

    #[test]
    fn the_failure_of_a_half_open_one_opens_it_for_another_hour() {
        let half_open = Breaker { state: State::HalfOpen, retry_at: Some(at(120)), ..tripped() };
        let open = half_open.after_failure(at(70));
        assert_eq!((open.state, open.failures, open.retry_at), (State::Open, 4, Some(at(130))));
    }
}
