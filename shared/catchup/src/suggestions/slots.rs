//! Slots: what free time is cut into.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use crate::span::{Span, Spans};

/// How long a slot is.
const SLOT: TimeDelta = TimeDelta::hours(1);
/// Less time than this is no slot.
const SHORTEST: TimeDelta = TimeDelta::minutes(30);
/// No slot begins at an odd minute.
const STEP: TimeDelta = TimeDelta::minutes(15);

/// Slots from the beginning of each free span on, one after the other; what is left at its end is one, too, when it is
/// long enough.
pub(super) fn slots(free: &Spans) -> impl Iterator<Item = Span> {
    free.iter().flat_map(|span| {
        let (mut start, end) = (even(span.start), span.end);
        std::iter::from_fn(move || {
            let slot = Span { start, end: end.min(start + SLOT) };
            start = slot.end;
            (slot.length() >= SHORTEST).then_some(slot)
        })
    })
}

fn even(moment: DateTime<Utc>) -> DateTime<Utc> {
    moment.duration_round_up(STEP).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minute * 60, 0).unwrap()
    }

    fn span(start: i64, end: i64) -> Span {
        Span { start: at(start), end: at(end) }
    }

    #[track_caller]
    fn check(free: &[(i64, i64)], expected: &[(i64, i64)]) {
        let free: Spans = free.iter().map(|(start, end)| span(*start, *end)).collect();
        let found: Vec<_> = slots(&free).collect();
        assert_eq!(found, expected.iter().map(|(start, end)| span(*start, *end)).collect::<Vec<_>>());
    }

    #[test]
    fn free_time_is_cut_into_hours_and_a_rest_that_is_long_enough() {
        check(&[(0, 150), (195, 224), (300, 330)], &[(0, 60), (60, 120), (120, 150), (300, 330)]);
        check(&[(0, 149), (195, 260)], &[(0, 60), (60, 120), (195, 255)]);
        check(&[], &[]);
    }

    #[test]
    fn a_slot_begins_at_a_quarter_of_an_hour() {
        check(&[(7, 100)], &[(15, 75)]);
        check(&[(1, 44)], &[]);
    }
}
