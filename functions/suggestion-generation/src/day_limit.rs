//! How many slots of a day are used.

use std::collections::HashMap;

use catchup::availability::WallClock;
use catchup::span::Span;

/// Suggestions that one day of a user can have; more would neither be read nor met.
pub(crate) const MAX_PER_DAY: usize = 4;

/// The first slots of each of the clock's days, so that with those `taken` it has no more than [`MAX_PER_DAY`].
pub(crate) fn limit_per_day<'a>(
    slots: impl Iterator<Item = Span> + 'a,
    taken: &[Span],
    clock: &'a WallClock,
) -> impl Iterator<Item = Span> + 'a {
    let mut days = HashMap::new();
    for span in taken {
        *days.entry(clock.date(span.start)).or_insert(0) += 1;
    }
    slots.filter(move |slot| {
        let used = days.entry(clock.date(slot.start)).or_insert(0);
        *used += 1;
        *used <= MAX_PER_DAY
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use chrono_tz::Tz;

    use super::*;

    fn slot(minute: i64) -> Span {
        let at = |minute: i64| DateTime::from_timestamp(minute * 60, 0).unwrap();
        Span { start: at(minute), end: at(minute + 60) }
    }

    #[test]
    fn a_day_is_the_users_and_what_is_taken_counts() {
        // Midnight in Kolkata is at minute 1110 of a day in UTC.
        let clock = WallClock::new(Tz::Asia__Kolkata, Span { start: slot(0).start, end: slot(4_000).start });
        let slots = [600, 700, 800, 900, 1_000, 1_110, 1_200, 1_300, 1_400, 1_500].map(slot);
        let taken = [1_150, 1_250, 3_000].map(slot);
        let few: Vec<_> = limit_per_day(slots.into_iter(), &taken, &clock).collect();
        assert_eq!(few, [600, 700, 800, 900, 1_110, 1_200].map(slot));
    }
}
