//! What became of earlier suggestions, contact by contact: the user's word above all.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::part_of_week::PartOfWeek;
use crate::db::suggestions::Frequency;
use crate::db::suggestions::{DismissalReason, Feedback, Status, Suggestion};

/// A contact that the user dismissed is left alone for so long, at least.
const WEEK: TimeDelta = TimeDelta::weeks(1);

/// What earlier suggestions say about a contact.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ContactHistory {
    /// When the contact was suggested last.
    pub suggested_at: Option<DateTime<Utc>>,
    /// When the user said that the two are in touch.
    pub met_at: Option<DateTime<Utc>>,
    pub block: Option<Block>,
    /// Parts of the week that do not suit the user for this contact.
    pub unsuitable: Vec<PartOfWeek>,
}

/// Why a contact is not suggested, due or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Block {
    /// Until then: the user dismissed the contact, or did not react.
    Until(DateTime<Utc>),
    /// The two have an appointment.
    Accepted,
    /// There is a suggestion already.
    Open,
    /// The user does not want it.
    Never,
}

/// The past of each contact with one. `frequencies` are those of the contacts, with when the user met them last.
pub(super) fn histories(
    suggestions: &[Suggestion],
    frequencies: &HashMap<Uuid, (Frequency, Option<DateTime<Utc>>)>,
    zone: Tz,
    now: DateTime<Utc>,
) -> HashMap<Uuid, ContactHistory> {
    let mut histories: HashMap<Uuid, ContactHistory> = HashMap::new();
    let unanswered = unanswered(suggestions, frequencies);
    for suggestion in suggestions {
        for contact in &suggestion.contacts {
            let past = histories.entry(*contact).or_default();
            let (frequency, _) = frequencies.get(contact).copied().unwrap_or_default();
            let unanswered = unanswered.get(contact).copied().unwrap_or_default();
            past.suggested_at = past.suggested_at.max(Some(suggestion.created_at));
            past.block = past.block.max(block(suggestion, frequency, unanswered, now));
            match suggestion.feedback {
                Some(Feedback::AlreadyInTouch) => past.met_at = past.met_at.max(Some(suggestion.changed_at)),
                Some(Feedback::TimingOff) => {
                    past.unsuitable.push(PartOfWeek::of(suggestion.slot.start, zone));
                }
                Some(Feedback::NotRelevant | Feedback::DontSuggestContact | Feedback::Other) | None => {}
            }
        }
    }
    histories
}

/// How often each contact was announced without a reaction since the two met.
fn unanswered(
    suggestions: &[Suggestion],
    frequencies: &HashMap<Uuid, (Frequency, Option<DateTime<Utc>>)>,
) -> HashMap<Uuid, i32> {
    let mut unanswered = HashMap::new();
    for suggestion in suggestions.iter().filter(|it| is_unanswered(it)) {
        for contact in &suggestion.contacts {
            let met_at = frequencies.get(contact).and_then(|(_, met_at)| *met_at);
            if met_at.is_none_or(|met_at| suggestion.changed_at > met_at) {
                *unanswered.entry(*contact).or_default() += 1;
            }
        }
    }
    unanswered
}

fn is_unanswered(suggestion: &Suggestion) -> bool {
    suggestion.was_notified && suggestion.dismissed_for == Some(DismissalReason::Expired)
}

fn block(
    suggestion: &Suggestion,
    frequency: Frequency,
    unanswered: i32,
    now: DateTime<Utc>,
) -> Option<Block> {
    let until = |time: DateTime<Utc>| (time > now).then_some(Block::Until(time));
    let changed = suggestion.changed_at;
    match suggestion.status {
        Status::Pending | Status::Snoozed => Some(Block::Open),
        Status::Accepted => (suggestion.slot.end > now).then_some(Block::Accepted),
        Status::Dismissed => match (suggestion.dismissed_for, suggestion.feedback) {
            // Our word is not the user's.
            // Who was announced without a reaction comes again, later each time.
            (Some(DismissalReason::Expired), _) => {
                let wait = (frequency.cool_down() / 2).max(WEEK) * unanswered.max(1);
                until(changed + wait).filter(|_| suggestion.was_notified)
            }
            (Some(DismissalReason::Conflict | DismissalReason::Unwanted), _)
            | (None, Some(Feedback::AlreadyInTouch)) => None,
            (None, Some(Feedback::DontSuggestContact)) => Some(Block::Never),
            (None, Some(Feedback::TimingOff)) => until(changed + WEEK),
            (None, Some(Feedback::NotRelevant)) => until(changed + frequency.cool_down() * 2),
            (None, Some(Feedback::Other) | None) => until(changed + frequency.cool_down()),
        },
    }
}

/// When the user acted last on one of these suggestions, as far as they show it: one that was snoozed until now does not
/// any more.
pub(super) fn acted_at(suggestions: &[Suggestion]) -> Option<DateTime<Utc>> {
    let is_by_user = |suggestion: &&Suggestion| match suggestion.status {
        Status::Pending => false,
        Status::Snoozed | Status::Accepted => true,
        Status::Dismissed => suggestion.dismissed_for.is_none(),
    };
    suggestions.iter().filter(is_by_user).map(|suggestion| suggestion.changed_at).max()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{now, suggestion};
    use super::*;

    #[track_caller]
    fn check(suggestion: &Suggestion, frequency: Frequency, expected: impl Into<Option<Block>>) {
        let expected = expected.into();
        let frequencies = suggestion.contacts.iter().map(|contact| (*contact, (frequency, None))).collect();
        let histories = histories(std::slice::from_ref(suggestion), &frequencies, Tz::UTC, now());
        for contact in &suggestion.contacts {
            assert_eq!(histories[contact].block, expected, "{suggestion:?}");
        }
    }

    fn until(days: i64) -> Block {
        Block::Until(now() + TimeDelta::days(days))
    }

    fn dismissed(days_ago: i64, feedback: Option<Feedback>) -> Suggestion {
        let changed_at = now() - TimeDelta::days(days_ago);
        Suggestion { status: Status::Dismissed, changed_at, feedback, ..suggestion(1) }
    }

    #[test]
    fn who_was_dismissed_is_left_alone_for_their_own_interval_and_a_week_at_least() {
        check(&dismissed(1, None), Frequency::Monthly, until(29));
        check(&dismissed(1, None), Frequency::Daily, until(6));
        check(&dismissed(31, None), Frequency::Monthly, None);
        check(&dismissed(1, Some(Feedback::Other)), Frequency::Monthly, until(29));
    }

    #[test]
    fn what_the_user_says_about_a_dismissal_counts() {
        check(&dismissed(1, Some(Feedback::NotRelevant)), Frequency::Monthly, until(59));
        check(&dismissed(1, Some(Feedback::TimingOff)), Frequency::Monthly, until(6));
        check(&dismissed(1, Some(Feedback::AlreadyInTouch)), Frequency::Monthly, None);
        check(&dismissed(900, Some(Feedback::DontSuggestContact)), Frequency::Monthly, Block::Never);
        let zone = Tz::UTC;
        let told = |feedback| {
            histories(&[dismissed(1, Some(feedback))], &HashMap::new(), zone, now())
                .remove(&Uuid::from_u128(1))
                .unwrap()
        };
        assert_eq!(told(Feedback::AlreadyInTouch).met_at, Some(now() - TimeDelta::days(1)));
        assert_eq!(told(Feedback::TimingOff).unsuitable, [PartOfWeek::of(suggestion(1).slot.start, zone)]);
    }

    #[test]
    fn what_we_dismissed_is_not_the_users_word() {
        let ended = |dismissed_for, was_notified| Suggestion {
            dismissed_for: Some(dismissed_for),
            was_notified,
            ..dismissed(1, None)
        };
        check(&ended(DismissalReason::Expired, true), Frequency::Monthly, until(14));
        check(&ended(DismissalReason::Expired, true), Frequency::Weekly, until(6));
        check(&ended(DismissalReason::Expired, false), Frequency::Monthly, None);
        check(&ended(DismissalReason::Conflict, true), Frequency::Monthly, None);
        check(&ended(DismissalReason::Unwanted, true), Frequency::Monthly, None);
        let one = std::slice::from_ref;
        assert_eq!(acted_at(one(&ended(DismissalReason::Expired, true))), None);
        assert_eq!(acted_at(one(&suggestion(1))), None);
        assert_eq!(acted_at(one(&dismissed(1, None))), Some(now() - TimeDelta::days(1)));
    }

    #[test]
    fn who_is_announced_again_and_again_comes_later_each_time_until_the_two_meet() {
        let expired = |days_ago| Suggestion {
            dismissed_for: Some(DismissalReason::Expired),
            was_notified: true,
            ..dismissed(days_ago, None)
        };
        let all = [expired(40), expired(20), expired(1)];
        let block = |met_days_ago: Option<i64>| {
            let met_at = met_days_ago.map(|days| now() - TimeDelta::days(days));
            let frequencies = HashMap::from([(Uuid::from_u128(1), (Frequency::Monthly, met_at))]);
            histories(&all, &frequencies, Tz::UTC, now()).remove(&Uuid::from_u128(1)).unwrap().block
        };
        assert_eq!(block(None), Some(until(44)));
        assert_eq!(block(Some(30)), Some(until(29)));
    }

    #[test]
    fn who_has_a_suggestion_or_an_appointment_gets_no_other() {
        for status in [Status::Pending, Status::Snoozed] {
            let group = vec![Uuid::from_u128(1), Uuid::from_u128(2)];
            check(&Suggestion { status, contacts: group, ..suggestion(1) }, Frequency::Monthly, Block::Open);
        }
        let accepted = Suggestion { status: Status::Accepted, ..suggestion(1) };
        check(&accepted, Frequency::Monthly, Block::Accepted);
        let slot = crate::span::Span { start: now() - TimeDelta::hours(2), end: now() };
        check(&Suggestion { slot, ..accepted }, Frequency::Monthly, None);
    }
}
