//! Who is due, and who comes first.
//!
//! A contact's score is how overdue it is in proportion to its frequency, at most [`MOST_OVERDUE`]; close friends have as
//! much more. A contact that waits gains a point for every [`POINT_OF_WAITING`] without a suggestion, so that in the end each due
//! contact comes before any other.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};

use super::history::ContactHistory;
use crate::db::suggestions::Contact;
use crate::db::suggestions::Frequency;

/// The score of a contact that is overdue by this many of its intervals, or by more.
const MOST_OVERDUE: f64 = 3.0;
const CLOSE: f64 = 3.0;
const POINT_OF_WAITING: TimeDelta = TimeDelta::weeks(4);

/// Someone who is due.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Due {
    /// When the user met them last.
    pub last_met: Option<DateTime<Utc>>,
    /// Nothing says that the user wants to meet them: it is asked, and after all others.
    pub is_question: bool,
    pub score: f64,
}

impl Due {
    /// Whether a contact is due `by` then, else when.
    pub(super) fn of(
        contact: &Contact,
        history: &ContactHistory,
        first_suggestion: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        by: DateTime<Utc>,
    ) -> Result<Self, Option<DateTime<Utc>>> {
        let last_met = contact.last_met.max(history.met_at);
        let interval = contact.frequency.unwrap_or_default().interval().ok_or(None)?;
        let is_question = contact.is_unknown() && history.met_at.is_none();
        let due_at = match last_met {
            Some(last) => last + interval,
            // There is nothing yet from which the interval could count.
            None => contact.created_at.unwrap_or(now).min(now),
        };
        if due_at > by {
            return Err(Some(due_at));
        }
        let since = last_met.or(contact.created_at).unwrap_or(now);
        let overdue = ratio(now - since, interval).clamp(1.0, MOST_OVERDUE);
        // No contact waited before there were suggestions.
        let waits_since = history.suggested_at.max(first_suggestion).unwrap_or(now).max(due_at);
        let waited = ratio(now - waits_since, POINT_OF_WAITING).max(0.0);
        let close = if contact.is_close { CLOSE } else { 0.0 };
        Ok(Self { last_met, is_question, score: overdue + close + waited })
    }

    /// `suggestions.priority`: the higher, the sooner.
    pub(super) fn priority(&self) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a large number is the largest")]
        let points = (self.score * 100.0).round() as i32;
        if self.is_question { 0 } else { points }
    }

    /// Sorts the first ones first.
    pub(super) fn order(&self, contact: &Contact, history: &ContactHistory) -> impl Ord + use<> {
        (self.is_question, Reverse(self.priority()), history.suggested_at, contact.id)
    }
}

fn ratio(part: TimeDelta, whole: TimeDelta) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "minutes of a human life")]
    let [part, whole] = [part, whole].map(|time| time.num_minutes() as f64);
    part / whole
}

impl Frequency {
    /// How long someone is left alone whom the user did not want to meet: as long as until they are due, a week at least.
    pub(super) fn cool_down(self) -> TimeDelta {
        self.interval().unwrap_or_default().max(TimeDelta::weeks(1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{contact, now};
    use super::*;

    fn met(number: u128, frequency: Frequency, days_ago: i64) -> Contact {
        let last_met = Some(now() - TimeDelta::days(days_ago));
        Contact { frequency: Some(frequency), last_met, ..contact(number) }
    }

    #[track_caller]
    fn check(people: &[(Contact, ContactHistory)], expected: &[u128]) {
        let first = people.iter().filter_map(|(_, past)| past.suggested_at).min();
        let mut due: Vec<_> = people
            .iter()
            .filter_map(|(contact, past)| {
                Some((
                    Due::of(contact, past, first, now(), now()).ok()?.order(contact, past),
                    contact.id.as_u128(),
                ))
            })
            .collect();
        due.sort();
        assert_eq!(due.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn who_is_more_overdue_in_proportion_comes_first_and_close_friends_before() {
        let none = ContactHistory::default;
        let close = |contact| Contact { is_close: true, ..contact };
        check(
            &[
                (met(1, Frequency::Monthly, 40), none()),
                (met(2, Frequency::Weekly, 40), none()),
                (close(met(3, Frequency::Yearly, 366)), none()),
                (met(4, Frequency::Weekly, 5), none()),
                (Contact { is_in_group: true, created_at: Some(now()), ..contact(5) }, none()),
                (contact(6), none()),
                (met(7, Frequency::Na, 5_000), none()),
            ],
            &[3, 2, 1, 5, 6],
        );
    }

    #[test]
    fn among_equals_the_one_least_recently_suggested_comes_first() {
        let suggested = |days| ContactHistory {
            suggested_at: Some(now() - TimeDelta::days(days)),
            ..ContactHistory::default()
        };
        check(
            &[
                (met(1, Frequency::Weekly, 60), suggested(8)),
                (met(2, Frequency::Weekly, 60), suggested(15)),
                (met(3, Frequency::Weekly, 60), suggested(1)),
            ],
            &[2, 1, 3],
        );
    }

    #[test]
    fn a_contact_that_waits_comes_before_close_friends_in_the_end() {
        let suggested = |weeks| ContactHistory {
            suggested_at: Some(now() - TimeDelta::weeks(weeks)),
            ..ContactHistory::default()
        };
        let close = Contact { is_close: true, ..met(1, Frequency::Weekly, 60) };
        check(&[(close.clone(), suggested(1)), (met(2, Frequency::Weekly, 60), suggested(8))], &[1, 2]);
        check(&[(close, suggested(1)), (met(2, Frequency::Weekly, 500), suggested(20))], &[2, 1]);
    }

    #[test]
    fn who_is_not_due_says_when() {
        let past = ContactHistory::default();
        let due = |contact: &Contact| Due::of(contact, &past, None, now(), now()).map(|due| due.priority());
        assert_eq!(due(&met(1, Frequency::Weekly, 6)), Err(Some(now() + TimeDelta::days(1))));
        assert_eq!(due(&met(1, Frequency::Weekly, 7)), Ok(100));
        assert_eq!(due(&met(1, Frequency::Na, 900)), Err(None));
        assert_eq!(due(&contact(1)), Ok(0));
    }
}
