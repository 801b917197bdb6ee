//! Slots: what free time is cut into.

use chrono::TimeDelta;

use crate::span::{Span, Spans};

/// How long a slot is.
pub const SLOT: TimeDelta = TimeDelta::hours(1);

/// Slots from the beginning of each free span on, one after the other; what is left at its end is one, too, when it is
/// at least as long as `shortest`.
pub fn slots(free: &Spans, shortest: TimeDelta) -> impl Iterator<Item = Span> {
    free.iter().flat_map(move |span| {
        let Span { mut start, end } = *span;
        std::iter::from_fn(move || {
            let slot = Span { start, end: end.min(start + SLOT) };
            start = slot.end;
            (slot.length() >= shortest).then_some(slot)
        })
    })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minute * 60, 0).unwrap()
    }

    fn span(start: i64, end: i64) -> Span {
        Span { start: at(start), end: at(end) }
    }

    #[track_caller]
    fn check(free: &[(i64, i64)], shortest: i64, expected: &[(i64, i64)]) {
        let free: Spans = free.iter().map(|(start, end)| span(*start, *end)).collect();
        let found: Vec<_> = slots(&free, TimeDelta::minutes(shortest)).collect();
        assert_eq!(found, expected.iter().map(|(start, end)| span(*start, *end)).collect::<Vec<_>>());
    }

    #[test]
    fn free_time_is_cut_into_hours_and_a_rest_that_is_long_enough() {
        check(&[(0, 150), (200, 229), (300, 330)], 30, &[(0, 60), (60, 120), (120, 150), (300, 330)]);
        check(&[(0, 149), (200, 260)], 30, &[(0, 60), (60, 120), (200, 260)]);
        check(&[(0, 150), (200, 259)], 60, &[(0, 60), (60, 120)]);
        check(&[], 30, &[]);
    }
}
