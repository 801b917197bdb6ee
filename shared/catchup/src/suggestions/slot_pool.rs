//! When to meet: the slots of a user, best first, and the limits on how many are used.

use std::cmp::Reverse;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::part_of_week::PartOfWeek;
use super::slots::slots;
use crate::span::{Span, Spans};

/// A slot begins so long after the batch that announces it, at least: its message may have to wait.
pub const AFTER_BATCH: TimeDelta = TimeDelta::hours(12);
/// A message says nothing of a slot that begins sooner: it is too late to be read, and to be arranged.
pub const NOTICE: TimeDelta = TimeDelta::hours(2);
/// And so long ahead in any case: people need time to arrange something.
const LEAD: TimeDelta = TimeDelta::hours(24);
/// A contact may be met so long before they are due: what is announced comes some days later, and a weekly contact would otherwise be met
/// every other week.
pub(super) const DUE_EARLIER: TimeDelta = TimeDelta::hours(24);
/// A slot begins within this time of the first moment at which one may begin.
const HORIZON: TimeDelta = TimeDelta::days(14);
const WEEK: TimeDelta = TimeDelta::weeks(1);
/// Suggestions on one of the user's days, those that are there included.
const MAX_PER_DAY: usize = 2;
/// Suggestions that one batch announces.
pub const MAX_PER_BATCH: usize = 3;
/// A person needs so long to come from what was before, and to go to what is next.
const TRAVEL: TimeDelta = TimeDelta::minutes(30);
/// No contact is to be called earlier or later than this by the contact's own clock.
const CONTACTS_DAY: (u32, u32) = (8, 22);

/// The time for which suggestions are made: which part of it a slot may be in depends on what announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    now: DateTime<Utc>,
    next_batch: Option<DateTime<Utc>>,
}

impl Horizon {
    /// `next_batch` is when the user is next notified about suggestions; `None` when no message reaches the user.
    pub(super) fn new(now: DateTime<Utc>, next_batch: Option<DateTime<Utc>>) -> Self {
        Self { now, next_batch }
    }

    /// Whether messages reach the user.
    pub(super) fn has_batch(self) -> bool {
        self.next_batch.is_some()
    }

    /// From the first to the last moment in which a slot may be.
    pub(super) fn span(self) -> Span {
        Span { start: self.now + LEAD, end: self.announced_from() + HORIZON }
    }

    /// Whether a slot that begins then is announced by no message.
    pub(super) fn is_early(self, start: DateTime<Utc>) -> bool {
        self.batch_of(start).is_none()
    }

    /// Whether a new slot may begin then. Between [`NOTICE`] and [`AFTER_BATCH`] it would take a place of the batch, which may be
    /// sent too late for it.
    fn may_begin(self, start: DateTime<Utc>, has_early: bool) -> bool {
        start >= self.announced_from() || (has_early && self.is_early(start))
    }

    /// Who is due by then is suggested.
    pub(super) fn due_by(self) -> DateTime<Utc> {
        self.announced_from() + DUE_EARLIER
    }

    /// Slots from here on are announced before they begin.
    fn announced_from(self) -> DateTime<Utc> {
        self.next_batch.map_or(self.now + LEAD, |batch| (batch + AFTER_BATCH).max(self.now + LEAD))
    }

    /// Which of the next batches announces a slot that begins then; `None`: it begins too early for any.
    fn batch_of(self, start: DateTime<Utc>) -> Option<i64> {
        let (too_early, first) = match self.next_batch {
            Some(batch) => (batch + NOTICE, batch + AFTER_BATCH),
            None => (self.now + LEAD, self.now + LEAD),
        };
        let behind = (start - first).max(TimeDelta::zero());
        (start >= too_early).then(|| behind.num_seconds() / WEEK.num_seconds())
    }
}

/// A slot that may be used.
struct Slot {
    span: Span,
    part: PartOfWeek,
    /// Right after what was before, or right before what is next.
    is_tight: bool,
}

/// A slot of a suggestion, or of an appointment.
#[derive(Debug, Clone, Copy)]
pub(super) struct UsedSlot {
    pub(super) span: Span,
    /// The user knows of it, and it takes no place in a batch.
    pub(super) is_known: bool,
}

/// The free slots of a user that may still be used.
pub(super) struct SlotPool {
    zone: Tz,
    horizon: Horizon,
    /// In the order of days, on each day whole hours and the usual one first.
    slots: Vec<Slot>,
    /// When the user met contacts before.
    accepted: Vec<PartOfWeek>,
    used: Vec<UsedSlot>,
}

impl SlotPool {
    /// With `has_early`, one slot may be used that no message announces.
    pub(super) fn new(
        zone: Tz,
        horizon: Horizon,
        free: &Spans,
        used: &[UsedSlot],
        accepted: &[PartOfWeek],
        has_early: bool,
    ) -> Self {
        let free = free.except(&used.iter().map(|used| with_travel(used.span)).collect());
        let has_time_around = |slot: Span| {
            let around = with_travel(slot);
            free.iter().any(|span| span.start <= around.start && around.end <= span.end)
        };
        let slot = |span: Span| {
            let (part, is_tight) = (PartOfWeek::of(span.start, zone), !has_time_around(span));
            Slot { span, part, is_tight }
        };
        let mut slots: Vec<_> = slots(&free.and(&horizon.span().into()))
            .filter(|span| horizon.may_begin(span.start, has_early))
            .map(slot)
            .collect();
        slots.sort_by_cached_key(|Slot { span, part, .. }| {
            let date = span.start.with_timezone(&zone).date_naive();
            (date, Reverse(span.length()), part.minutes_off(span.start, zone), span.start)
        });
        let (accepted, used) = (accepted.to_vec(), used.to_vec());
        let mut pool = Self { zone, horizon, slots, accepted, used };
        pool.drop_unusable();
        pool
    }

    /// Takes the best slot that is left for a contact who is due then; with `may_be_early` and when the next batch has no place, the
    /// one that no message announces, if it is left.
    pub(super) fn take(
        &mut self,
        contacts_zone: Option<Tz>,
        unsuitable: &[PartOfWeek],
        due: DateTime<Utc>,
        may_be_early: bool,
    ) -> Option<Span> {
        let find = |is_early| {
            let fits = |slot: &Slot| {
                self.horizon.is_early(slot.span.start) == is_early
                    && due <= slot.span.start + DUE_EARLIER
                    && !unsuitable.contains(&slot.part)
                    && contacts_zone.is_none_or(|zone| is_daytime(slot.span, zone))
            };
            // Another day rather than the next hour of the same evening, and not the next day.
            let worth = |(place, Slot { span, part, is_tight }): &(usize, &Slot)| {
                let (is_leisure, is_accepted) = (part.is_leisure(), self.accepted.contains(part));
                let batch = self.horizon.batch_of(span.start);
                (!is_leisure, !is_accepted, *is_tight, self.on_day(*span), batch, self.next_to(*span), *place)
            };
            let fitting = self.slots.iter().enumerate().filter(|(_, slot)| fits(slot));
            fitting.min_by_key(worth).map(|(place, _)| place)
        };
        let may_be_early = may_be_early && self.in_batch(0) >= MAX_PER_BATCH;
        let place = may_be_early.then(|| find(true)).flatten().or_else(|| find(false))?;
        let span = self.slots.remove(place).span;
        self.used.push(UsedSlot { span, is_known: false });
        self.drop_unusable();
        if self.horizon.is_early(span.start) {
            self.slots.retain(|slot| !self.horizon.is_early(slot.span.start));
        }
        Some(span)
    }

    /// Drops the slots that overlap one.
    pub(super) fn drop_overlapping(&mut self, slot: Span) {
        self.slots.retain(|it| it.span.and(&slot).is_empty());
    }

    /// Leaves only slots of days and batches that are not full, with time before and after what is used.
    fn drop_unusable(&mut self) {
        let mut slots = std::mem::take(&mut self.slots);
        slots.retain(|Slot { span, .. }| {
            let batch = self.horizon.batch_of(span.start).filter(|_| self.horizon.next_batch.is_some());
            self.on_day(*span) < MAX_PER_DAY
                && batch.is_none_or(|batch| self.in_batch(batch) < MAX_PER_BATCH)
                && self.used.iter().all(|used| with_travel(used.span).and(span).is_empty())
        });
        self.slots = slots;
    }

    /// Slots that are used of those which that batch announces.
    fn in_batch(&self, batch: i64) -> usize {
        let needs_place =
            |used: &&UsedSlot| !used.is_known && self.horizon.batch_of(used.span.start) == Some(batch);
        self.used.iter().filter(needs_place).count()
    }

    /// Slots that are used on the day of that one.
    fn on_day(&self, slot: Span) -> usize {
        let date = self.date(slot);
        self.used.iter().filter(|used| self.date(used.span) == date).count()
    }

    /// Slots that are used on the days before and after that one's.
    fn next_to(&self, slot: Span) -> usize {
        let date = self.date(slot);
        let days = [date.pred_opt(), date.succ_opt()];
        self.used.iter().filter(|used| days.contains(&Some(self.date(used.span)))).count()
    }

    fn date(&self, slot: Span) -> NaiveDate {
        slot.start.with_timezone(&self.zone).date_naive()
    }
}

/// The slot, with the travel before and after it.
fn with_travel(slot: Span) -> Span {
    Span { start: slot.start - TRAVEL, end: slot.end + TRAVEL }
}

fn is_daytime(slot: Span, zone: Tz) -> bool {
    let (start, end) = (slot.start.with_timezone(&zone), slot.end.with_timezone(&zone));
    let hour = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap_or_default();
    start.date_naive() == end.date_naive()
        && start.time() >= hour(CONTACTS_DAY.0)
        && end.time() <= hour(CONTACTS_DAY.1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::now;
    use super::*;

    /// Free from 9 to 21 o'clock on each of the next 28 days, from a Sunday noon on.
    fn free() -> Spans {
        let day = |day: i64| {
            let midnight = now().date_naive().and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(day);
            Span { start: midnight + TimeDelta::hours(9), end: midnight + TimeDelta::hours(21) }
        };
        (0..28).map(day).collect()
    }

    fn times(next_batch: Option<i64>, used: &[UsedSlot]) -> SlotPool {
        let horizon = Horizon::new(now(), next_batch.map(|hours| now() + TimeDelta::hours(hours)));
        SlotPool::new(Tz::UTC, horizon, &free(), used, &[], true)
    }

    fn hour(ahead: i64) -> UsedSlot {
        let start = now() + TimeDelta::hours(ahead);
        unknown(Span { start, end: start + TimeDelta::hours(1) })
    }

    fn unknown(span: Span) -> UsedSlot {
        UsedSlot { span, is_known: false }
    }

    fn take(times: &mut SlotPool) -> Option<Span> {
        times.take(None, &[], now(), false)
    }

    fn hours_ahead(slot: Option<Span>) -> Option<i64> {
        slot.map(|slot| (slot.start - now()).num_hours())
    }

    #[test]
    fn without_a_message_a_slot_begins_a_day_ahead_and_within_fourteen() {
        let mut times = times(None, &[]);
        // Monday evening, then Wednesday evening.
        assert_eq!(hours_ahead(take(&mut times)), Some(30));
        assert_eq!(hours_ahead(take(&mut times)), Some(78));
        let mut last = 0;
        while let Some(ahead) = hours_ahead(take(&mut times)) {
            last = last.max(ahead);
        }
        assert!((14 * 24..15 * 24).contains(&last), "{last}");
    }

    #[test]
    fn a_slot_begins_half_a_day_after_the_batch_that_announces_it_which_announces_three() {
        // The batch is on Wednesday at noon.
        let mut times = times(Some(72), &[]);
        let slots: Vec<_> = std::iter::from_fn(|| hours_ahead(take(&mut times))).collect();
        assert_eq!(slots, [102, 143, 198, 270, 311, 366]);
    }

    #[test]
    fn a_slot_with_time_before_and_after_comes_before_one_without() {
        let evening = |day: i64, from, until| {
            let midnight = now().date_naive().and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(day);
            Span { start: midnight + TimeDelta::hours(from), end: midnight + TimeDelta::hours(until) }
        };
        // After work and before choir, and on Thursday an evening at home.
        let free = [evening(2, 17, 19), evening(4, 17, 21)].into_iter().collect();
        let mut times = SlotPool::new(Tz::UTC, Horizon::new(now(), None), &free, &[], &[], true);
        let slots: Vec<_> = std::iter::from_fn(|| hours_ahead(take(&mut times))).collect();
        assert_eq!(slots, [102, 54, 104]);
    }

    #[test]
    fn an_early_slot_is_one_before_the_batch() {
        let mut times = times(Some(72), &[]);
        let slots: Vec<_> = (0..5).map(|_| hours_ahead(times.take(None, &[], now(), true))).collect();
        // When the batch has its three, and there is one.
        assert_eq!(slots, [102, 143, 198, 30, 270].map(Some));
    }

    #[test]
    fn no_early_slot_is_one_that_the_batch_would_announce() {
        // The batch is on Wednesday at noon, has its three, and may say something of Wednesday afternoon.
        let batch = now() + TimeDelta::days(3);
        let until_evening = Spans::from(Span { start: now(), end: batch + TimeDelta::hours(9) });
        let used = [102, 143, 198].map(hour);
        let horizon = Horizon::new(now(), Some(batch));
        let mut times = SlotPool::new(Tz::UTC, horizon, &free().and(&until_evening), &used, &[], true);
        assert!(times.slots.iter().all(|slot| slot.span.start < batch + NOTICE));
        assert_eq!(hours_ahead(times.take(None, &[], now(), true)), Some(30));
    }

    #[test]
    fn a_batch_that_is_near_has_no_place_for_a_fourth() {
        // The batch is at six o'clock, and one of its three is in less than a day.
        let used = [21, 78, 143].map(hour);
        let is_of_next = |used| hours_ahead(take(&mut times(Some(6), used))).unwrap() < 6 + 12 + 7 * 24;
        assert!(!is_of_next(&used));
        assert!(is_of_next(&used.map(|used| UsedSlot { is_known: true, ..used })));
    }

    #[test]
    fn a_day_has_two_with_those_that_are_there() {
        let used = take(&mut times(None, &[])).unwrap();
        let mut times = times(None, &[unknown(used)]);
        let slots: Vec<_> = std::iter::from_fn(|| hours_ahead(take(&mut times))).collect();
        assert_eq!(slots[0], 78, "Wednesday evening");
        let on_monday = slots.iter().filter(|ahead| (12..36).contains(*ahead)).count();
        assert_eq!(on_monday, 1, "one more");
    }

    #[test]
    fn a_slot_suits_the_user_and_the_contacts_day() {
        let evening = PartOfWeek::of(now() + TimeDelta::hours(30), Tz::UTC);
        let slot = times(None, &[]).take(None, &[evening], now(), false);
        // Saturday morning: not an evening of a weekday.
        assert_eq!(hours_ahead(slot), Some(143));
        // It is night in Auckland when it is evening here, and morning when it is 21 o'clock.
        let slot = times(None, &[]).take(Some(Tz::Pacific__Auckland), &[], now(), false).unwrap();
        assert!(is_daytime(slot, Tz::Pacific__Auckland), "{slot:?}");
    }

    #[test]
    fn what_the_user_accepted_before_comes_next() {
        let morning = PartOfWeek::of(now() + TimeDelta::hours(45), Tz::UTC);
        let horizon = Horizon::new(now(), None);
        let weekdays: Spans = free().except(
            &(0..4)
                .map(|week| {
                    let saturday = now() + TimeDelta::days(6 + week * 7) - TimeDelta::hours(12);
                    Span { start: saturday, end: saturday + TimeDelta::days(2) }
                })
                .collect(),
        );
        let work: Spans = weekdays
            .iter()
            .map(|span| Span { start: span.start, end: span.end - TimeDelta::hours(4) })
            .collect();
        let first = |accepted: &[PartOfWeek]| {
            hours_ahead(SlotPool::new(Tz::UTC, horizon, &work, &[], accepted, true).take(
                None,
                &[],
                now(),
                false,
            ))
        };
        assert_eq!(first(&[]), Some(24));
        assert_eq!(first(&[morning]), Some(47));
    }
}
