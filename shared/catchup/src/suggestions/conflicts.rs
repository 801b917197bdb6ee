//! Suggestions whose time is no longer free, or no longer one at which the user meets people.

use std::collections::HashMap;

use uuid::Uuid;

use crate::availability::Busy;
use crate::db::suggestions::{Status, Suggestion};
use crate::span::{Span, Spans};

/// The pending suggestions that overlap a busy event, other than the one that was made for them. O((n + m) log m).
pub(super) fn conflicts(suggestions: &[Suggestion], busy: &[Busy]) -> Vec<Uuid> {
    let mut starts: Vec<_> = busy.iter().map(|busy| busy.span.start).collect();
    let mut ends: Vec<_> = busy.iter().map(|busy| busy.span.end).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let events: HashMap<&str, &Busy> =
        busy.iter().map(|busy| (busy.google_event_id.as_str(), busy)).collect();
    let is_taken = |suggestion: &&Suggestion| {
        let slot = suggestion.slot;
        let begun = starts.partition_point(|start| *start < slot.end);
        let over = ends.partition_point(|end| *end <= slot.start);
        let own = suggestion.calendar_event_id.as_deref().and_then(|id| events.get(id));
        let own = own.is_some_and(|own| !own.span.and(&slot).is_empty());
        begun.saturating_sub(over) > usize::from(own)
    };
    let pending = suggestions.iter().filter(|suggestion| suggestion.status == Status::Pending);
    pending.filter(is_taken).map(|suggestion| suggestion.id).collect()
}

/// The pending suggestions of ours in `window` that are not in the user's hours: those of another zone, or from before the user
/// changed them.
pub(super) fn outside_hours(suggestions: &[Suggestion], hours: &Spans, window: Span) -> Vec<Uuid> {
    let is_outside = |suggestion: &&Suggestion| {
        let slot = suggestion.slot;
        let is_ours = suggestion.is_timebound && suggestion.calendar_event_id.is_none();
        let is_looked_at = window.start <= slot.start && slot.end <= window.end;
        is_ours && is_looked_at && !Spans::from(slot).except(hours).is_empty()
    };
    let pending = suggestions.iter().filter(|suggestion| suggestion.status == Status::Pending);
    pending.filter(is_outside).map(|suggestion| suggestion.id).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use proptest::prelude::*;

    use super::super::tests::{now, suggestion};
    use super::*;

    fn span() -> impl Strategy<Value = Span> {
        let at = |hour: i64| -> DateTime<Utc> { DateTime::from_timestamp(hour * 3600, 0).unwrap() };
        (0..30_i64, 1..6_i64)
            .prop_map(move |(start, length)| Span { start: at(start), end: at(start + length) })
    }

    #[test]
    fn a_suggestion_of_ours_is_outside_unless_all_of_it_is_in_the_users_hours() {
        let week = Span { start: now(), end: now() + TimeDelta::days(8) };
        let hours = |from, to| Spans::from(Span { start: now() + from, end: now() + to });
        let days = TimeDelta::days;
        let is_outside = |suggestion: &Suggestion, hours| {
            !outside_hours(std::slice::from_ref(suggestion), &hours, week).is_empty()
        };
        // It is a week from now, and an hour long.
        let ours = suggestion(1);
        assert!(!is_outside(&ours, hours(days(7), days(8))));
        assert!(is_outside(&ours, hours(days(6), days(7))));
        assert!(is_outside(&ours, hours(days(7) + TimeDelta::minutes(1), days(8))));
        assert!(is_outside(&ours, Spans::default()));
        let far = Span { start: now() + days(9), end: now() + days(10) };
        for other in [
            Suggestion { is_timebound: false, ..ours.clone() },
            Suggestion { calendar_event_id: Some("event".to_owned()), ..ours.clone() },
            Suggestion { status: Status::Accepted, ..ours.clone() },
            Suggestion { slot: far, ..ours.clone() },
        ] {
            assert!(!is_outside(&other, Spans::default()), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_suggestion_is_in_conflict_exactly_if_some_other_event_overlaps_it(
            slots in prop::collection::vec((span(), prop::option::of(0..6_usize)), 0..12),
            spans in prop::collection::vec(span(), 0..6),
        ) {
            let pending: Vec<_> = slots
                .into_iter()
                .map(|(slot, own)| Suggestion { id: Uuid::new_v4(), slot, calendar_event_id: own.map(|own| own.to_string()), ..suggestion(1) })
                .collect();
            let busy: Vec<_> = spans
                .into_iter()
                .enumerate()
                .map(|(number, span)| Busy { google_event_id: number.to_string(), span })
                .collect();
            let expected: Vec<_> = pending
                .iter()
                .filter(|pending| {
                    busy.iter().any(|busy| {
                        pending.calendar_event_id.as_deref() != Some(busy.google_event_id.as_str())
                            && busy.span.start < pending.slot.end
                            && pending.slot.start < busy.span.end
                    })
                })
                .map(|pending| pending.id)
                .collect();
            prop_assert_eq!(conflicts(&pending, &busy), expected);
        }
    }
}
