//! Spans of time, and sets of them.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The time from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins.
    pub start: DateTime<Utc>,
    /// Where it ends.
    pub end: DateTime<Utc>,
}

impl Span {
    /// How long it is; not above zero if it is empty.
    #[must_use]
    pub fn length(&self) -> TimeDelta {
        self.end - self.start
    }

    /// Whether there is no moment in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// What is in both; empty when they do not overlap.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
}

/// A set of moments: spans in order, none of them empty, with time between them. Made from any spans in O(n log n).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Span>")]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Whether there is no moment in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }

    /// What is in both: O(n + m).
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            both.push(a.and(b));
            if a.end <= b.end {
                left.next();
            } else {
                right.next();
            }
        }
        both.retain(|span| !span.is_empty());
        Self(both)
    }

    /// What is here and not there: O(n + m).
    #[must_use]
    pub fn except(&self, other: &Self) -> Self {
        let mut others = other.0.iter().peekable();
        let mut rest = Vec::new();
        for span in &self.0 {
            let mut start = span.start;
            while let Some(other) = others.peek()
                && other.start < span.end
            {
                rest.push(Span { start, end: other.start });
                start = start.max(other.end);
                if other.end > span.end {
                    break; // It may reach into the next span, too.
                }
                others.next();
            }
            rest.push(Span { start, end: span.end });
        }
        rest.retain(|span| !span.is_empty());
        Self(rest)
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().filter(|span| !span.is_empty()).collect();
        spans.sort_unstable_by_key(|span| span.start);
        spans.dedup_by(|next, before| {
            let joined = next.start <= before.end;
            if joined {
                before.end = before.end.max(next.end);
            }
            joined
        });
        Self(spans)
    }
}

impl From<Vec<Span>> for Spans {
    fn from(spans: Vec<Span>) -> Self {
        spans.into_iter().collect()
    }
}

impl From<Span> for Spans {
    fn from(span: Span) -> Self {
        [span].into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOURS: i64 = 24;

    fn hour(number: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(number * 3600, 0).unwrap()
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        let span = (0..HOURS, 0..6_i64)
            .prop_map(|(start, length)| Span { start: hour(start), end: hour(start + length) });
        prop::collection::vec(span, 0..8)
    }

    fn has(spans: &[Span], moment: DateTime<Utc>) -> bool {
        spans.iter().any(|span| span.start <= moment && moment < span.end)
    }

    #[track_caller]
    fn check(set: &Spans, expected: impl Fn(DateTime<Utc>) -> bool) {
        for number in 0..HOURS + 6 {
            assert_eq!(has(&set.0, hour(number)), expected(hour(number)), "hour {number} of {set:?}");
        }
        assert!(set.0.iter().all(|span| !span.is_empty()), "{set:?}");
        assert!(set.0.windows(2).all(|pair| pair[0].end < pair[1].start), "{set:?}");
    }

    proptest! {
        #[test]
        fn sets_are_what_their_moments_are(a in spans(), b in spans()) {
            let (left, right): (Spans, Spans) = (a.clone().into(), b.clone().into());
            check(&left, |moment| has(&a, moment));
            check(&left.and(&right), |moment| has(&a, moment) && has(&b, moment));
            check(&left.except(&right), |moment| has(&a, moment) && !has(&b, moment));
        }
    }
}
