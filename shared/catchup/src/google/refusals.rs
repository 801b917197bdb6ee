//! Whether Google's `invalid_grant` for a token is the user's doing or ours. Pure.
//!
//! A consent screen in testing, the wrong OAuth client or a wrong clock make Google answer `invalid_grant` for everybody. So
//! the answer for one user is believed only when those for others say that nothing is wrong with us.

use chrono::{DateTime, TimeDelta, Utc};

use crate::db::refused_tokens::Refusals;

/// Fewer refused tokens than these are never many.
const MANY: i64 = 10;
/// One in so many tokens may be refused.
const SHARE: i64 = 5;
/// Waits before the token is tried again: at first for the tasks of the same sweep.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);
const SECOND_WAIT: TimeDelta = TimeDelta::minutes(10);
const LATER_WAIT: TimeDelta = TimeDelta::hours(1);
/// After this time a few refusals are believed without other answers: perhaps no one else is asked.
const BELIEVED_AFTER: TimeDelta = TimeDelta::hours(24);

/// What to make of a token's refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The user's doing.
    Believed,
    /// Too early to tell: the token is tried again then.
    Early {
        /// When.
        until: DateTime<Utc>,
    },
    /// Ours: no user is marked.
    Many,
}

impl Refusals {
    pub(super) fn decide(&self, now: DateTime<Utc>) -> Decision {
        if self.refused >= MANY && SHARE * self.refused > self.working {
            return Decision::Many;
        }
        let age = now - self.since;
        // When an outage of ours begins, the answers from just before it say nothing of what comes.
        let others_work = age >= FIRST_WAIT && self.answered >= (SHARE - 1) * self.refused;
        if others_work || !self.others_left || (self.refused < MANY && age >= BELIEVED_AFTER) {
            return Decision::Believed;
        }
        let wait = if age < FIRST_WAIT {
            FIRST_WAIT
        } else if age < SECOND_WAIT {
            SECOND_WAIT
        } else {
            LATER_WAIT
        };
        Decision::Early { until: now + wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    const ONE: Refusals =
        Refusals { since: DateTime::UNIX_EPOCH, refused: 1, working: 5, answered: 0, others_left: true };

    #[track_caller]
    fn check(refusals: Refusals, age_s: i64, expected: Decision) {
        assert_eq!(Refusals { since: at(0), ..refusals }.decide(at(age_s)), expected);
    }

    #[test]
    fn a_refusal_waits_for_others_answers() {
        for (age_s, next_s) in [(0, 30), (31, 631), (700, 4300), (86_399, 89_999)] {
            check(ONE, age_s, Decision::Early { until: at(next_s) });
        }
        check(ONE, 86_400, Decision::Believed);
        check(Refusals { answered: 4, ..ONE }, 0, Decision::Early { until: at(30) });
        check(Refusals { answered: 4, ..ONE }, 30, Decision::Believed);
        check(Refusals { others_left: false, ..ONE }, 0, Decision::Believed);
    }

    #[test]
    fn more_than_a_fifth_and_ten_at_least_are_not_believed_however_old() {
        let many = |refused, working| Refusals { refused, working, answered: 0, others_left: false, ..ONE };
        check(many(10, 49), 1_000_000, Decision::Many);
        check(many(10, 50), 0, Decision::Believed);
        check(many(9, 0), 0, Decision::Believed);
        check(many(500, 0), 0, Decision::Many);
    }

    #[test]
    fn a_few_of_many_are_not_believed_before_others_were_exchanged_since() {
        check(
            Refusals { refused: 3, working: 15, answered: 11, ..ONE },
            0,
            Decision::Early { until: at(30) },
        );
        check(Refusals { refused: 3, working: 15, answered: 12, ..ONE }, 30, Decision::Believed);
    }
}
