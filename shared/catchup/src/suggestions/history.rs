//! What became of earlier suggestions, contact by contact: the user's word above all.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::part_of_week::PartOfWeek;
use crate::db::suggestions::{Contact, DismissalReason, Feedback, Frequency, Status, Suggestion};

/// A contact that the user dismissed is left alone for so long, at least.
const WEEK: TimeDelta = TimeDelta::weeks(1);

/// So many expired announcements lengthen the wait, and more do not lengthen it further.
const MAX_UNANSWERED: i32 = 6;

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

/// The past of each contact with one.
pub(super) fn histories(
    suggestions: &[Suggestion],
    contacts: &[Contact],
    zone: Tz,
    now: DateTime<Utc>,
) -> HashMap<Uuid, ContactHistory> {
    let mut histories: HashMap<Uuid, ContactHistory> = HashMap::new();
    let contacts: HashMap<Uuid, &Contact> = contacts.iter().map(|contact| (contact.id, contact)).collect();
    let unanswered = unanswered(suggestions, &contacts);
    for suggestion in suggestions {
        for contact in &suggestion.contacts {
            let past = histories.entry(*contact).or_default();
            let frequency = contacts.get(contact).and_then(|contact| contact.frequency).unwrap_or_default();
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

/// How often each contact was announced in vain since the two met, or the user said something about the contact.
fn unanswered(suggestions: &[Suggestion], contacts: &HashMap<Uuid, &Contact>) -> HashMap<Uuid, i32> {
    let mut heard_at: HashMap<Uuid, DateTime<Utc>> =
        contacts.iter().filter_map(|(id, contact)| Some((*id, contact.last_met?))).collect();
    for suggestion in suggestions.iter().filter(|suggestion| is_by_user(suggestion)) {
        for contact in &suggestion.contacts {
            let said = suggestion.changed_at;
            heard_at.entry(*contact).and_modify(|heard| *heard = said.max(*heard)).or_insert(said);
        }
    }
    let in_vain = |it: &&Suggestion| it.was_notified && it.dismissed_for == Some(DismissalReason::Expired);
    let mut unanswered = HashMap::new();
    for suggestion in suggestions.iter().filter(in_vain) {
        let is_later = |contact: &&Uuid| heard_at.get(contact).is_none_or(|at| suggestion.changed_at > *at);
        for contact in suggestion.contacts.iter().filter(is_later) {
            *unanswered.entry(*contact).or_default() += 1;
        }
    }
    unanswered
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
                let wait = (frequency.cool_down() / 2).max(WEEK) * unanswered.clamp(1, MAX_UNANSWERED);
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
    let by_user = suggestions.iter().filter(|suggestion| is_by_user(suggestion));
    by_user.map(|suggestion| suggestion.changed_at).max()
}

/// Whether the user said the last word on it.
pub(super) fn is_by_user(suggestion: &Suggestion) -> bool {
    match suggestion.status {
        Status::Pending => false,
        Status::Snoozed | Status::Accepted => true,
        Status::Dismissed => suggestion.dismissed_for.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{contact, now, suggestion};
    use super::*;

    #[track_caller]
    fn check(suggestion: &Suggestion, frequency: Frequency, expected: impl Into<Option<Block>>) {
        let expected = expected.into();
        let contact = |id: &Uuid| Contact { id: *id, frequency: Some(frequency), ..contact(0) };
        let contacts: Vec<_> = suggestion.contacts.iter().map(contact).collect();
        let histories = histories(std::slice::from_ref(suggestion), &contacts, Tz::UTC, now());
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
            histories(&[dismissed(1, Some(feedback))], &[], zone, now()).remove(&Uuid::from_u128(1)).unwrap()
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
    fn who_is_announced_in_vain_comes_later_each_time_until_the_user_says_something() {
        let expired = |days_ago| Suggestion {
            dismissed_for: Some(DismissalReason::Expired),
            was_notified: true,
            ..dismissed(days_ago, None)
        };
        let block = |suggestions: &[Suggestion], met_days_ago: Option<i64>| {
            let last_met = met_days_ago.map(|days| now() - TimeDelta::days(days));
            let contacts = [Contact { frequency: Some(Frequency::Monthly), last_met, ..contact(1) }];
            histories(suggestions, &contacts, Tz::UTC, now()).remove(&Uuid::from_u128(1)).unwrap().block
        };
        let all = [expired(40), expired(20), expired(1)];
        assert_eq!(block(&all, None), Some(until(44)));
        assert_eq!(block(&all, Some(30)), Some(until(29)));
        let said = [&all[..], &[dismissed(35, Some(Feedback::AlreadyInTouch))]].concat();
        assert_eq!(block(&said, None), Some(until(29)));
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
