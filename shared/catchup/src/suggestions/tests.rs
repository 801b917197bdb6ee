//! Plans for whole situations.

use std::collections::HashSet;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::plan::{Situation, announceable, plan};
use super::slot_pool::Horizon;
use super::*;
use crate::db::suggestions::{DismissalReason, Feedback, Frequency, Status, Suggestion};
use crate::span::{Span, Spans};

/// A Sunday.
pub(super) fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Someone of whom nothing is known.
pub(super) fn contact(number: u128) -> Contact {
    Contact {
        id: Uuid::from_u128(number),
        name: format!("Contact{number}"),
        email: None,
        phone: None,
        zone: None,
        frequency: None,
        last_met: None,
        next_meeting: None,
        created_at: Some(now() - TimeDelta::days(1_000)),
        is_close: false,
        is_in_group: false,
        is_archived: false,
    }
}

/// A pending one for that contact, made yesterday for a week from now.
pub(super) fn suggestion(contact: u128) -> Suggestion {
    let start = now() + TimeDelta::days(7);
    Suggestion {
        id: Uuid::from_u128(1_000 + contact),
        contacts: vec![Uuid::from_u128(contact)],
        is_timebound: true,
        status: Status::Pending,
        slot: Span { start, end: start + TimeDelta::hours(1) },
        snoozed_until: None,
        calendar_event_id: None,
        created_at: now() - TimeDelta::days(1),
        changed_at: now() - TimeDelta::days(1),
        was_notified: false,
        awaits_message: false,
        dismissed_for: None,
        feedback: None,
    }
}

fn weekly(number: u128) -> Contact {
    Contact {
        frequency: Some(Frequency::Weekly),
        last_met: Some(now() - TimeDelta::days(30)),
        ..contact(number)
    }
}

fn situation(contacts: Vec<Contact>, suggestions: Vec<Suggestion>) -> Situation {
    Situation {
        now: now(),
        zone: Tz::UTC,
        horizon: Horizon::new(now(), Some(now() + TimeDelta::days(7))),
        contacts,
        suggestions,
        own_addresses: HashSet::new(),
        excluded: HashSet::new(),
        acted_at: None,
        is_paused: false,
    }
}

/// From 9 to 21 o'clock on each of the next days.
fn free() -> Spans {
    let midnight = now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let at = |day: i64, hour| midnight + TimeDelta::days(day) + TimeDelta::hours(hour);
    (0..40).map(|day| Span { start: at(day, 9), end: at(day, 21) }).collect()
}

fn monthly(number: u128) -> Contact {
    Contact { frequency: Some(Frequency::Monthly), ..weekly(number) }
}

fn made(situation: Situation) -> Plan {
    plan(situation, &free(), &[])
}

fn decision_on(plan: &Plan, contact: u128) -> Decision {
    let found = plan.decisions.iter().find(|(id, _)| *id == Uuid::from_u128(contact));
    found.unwrap_or_else(|| panic!("no decision on {contact}: {plan:?}")).1
}

fn reasons(plan: &Plan) -> Vec<(Uuid, DismissalReason)> {
    plan.dismissed.iter().map(|dismissal| (dismissal.id, dismissal.reason)).collect()
}

fn hours_ahead(plan: &Plan) -> Vec<i64> {
    plan.new.iter().map(|new| (new.slot.start - now()).num_hours()).collect()
}

#[test]
fn a_user_has_five_open_ones_of_which_a_batch_announces_three() {
    let plan = made(situation((1..=12).map(weekly).collect(), Vec::new()));
    // The batch is next Sunday noon: on Monday, Wednesday and Friday evening; the others after the batch of the week after.
    assert_eq!(hours_ahead(&plan), [198, 246, 294, 366, 414]);
    assert_eq!(decision_on(&plan, 6), Decision::LimitReached);

    let open: Vec<_> = (1..=4).map(suggestion).collect();
    assert_eq!(made(situation((1..=12).map(weekly).collect(), open)).new.len(), 1);
    let snoozed = (1..=5).map(|number| Suggestion { status: Status::Snoozed, ..suggestion(number) });
    assert_eq!(made(situation((1..=12).map(weekly).collect(), snoozed.collect())).new.len(), 0);
}

#[test]
fn who_is_due_by_the_meeting_is_suggested() {
    // The batch is in a week, and announces Sunday evening at the earliest.
    let met = |days| Contact { last_met: Some(now() - TimeDelta::days(days)), ..weekly(1) };
    let decision = |days| decision_on(&made(situation(vec![met(days)], Vec::new())), 1);
    assert!(matches!(decision(0), Decision::Suggested(_)));
    let monthly = |days| Contact { last_met: Some(now() - TimeDelta::days(days)), ..monthly(1) };
    let decision = |days| decision_on(&made(situation(vec![monthly(days)], Vec::new())), 1);
    assert!(matches!(decision(22), Decision::Suggested(_)));
    assert_eq!(decision(20), Decision::NotDue(now() + TimeDelta::days(10)));

    // And not for a time that no batch announces.
    let mut acting = situation(vec![weekly(2), weekly(3), weekly(4), met(1)], Vec::new());
    acting.acted_at = Some(now());
    let is_early = |situation: &Situation| hours_ahead(&made(situation.clone())).contains(&30);
    assert!(!is_early(&acting));
    acting.contacts.push(weekly(5));
    assert!(is_early(&acting));
}

#[test]
fn a_question_is_asked_last_and_once_at_a_time() {
    let plan = made(situation(vec![contact(1), contact(2), weekly(3)], Vec::new()));
    let names: Vec<_> = plan.new.iter().map(|new| new.reasoning.as_str()).collect();
    assert_eq!(names, ["Contact3 · weekly · last 30 January", "Keep in touch with Contact1?"]);
    assert_eq!(decision_on(&plan, 2), Decision::LimitReached);
    let plan = made(situation(vec![contact(1), contact(2)], vec![suggestion(1)]));
    assert_eq!(plan.new, []);
}

#[test]
fn who_said_no_to_a_question_or_nothing_is_asked_the_next_one_after_four_weeks() {
    let asked = |days, status, was_notified| {
        let created_at = now() - TimeDelta::days(days);
        let past = Suggestion { status, was_notified, created_at, changed_at: created_at, ..suggestion(1) };
        made(situation(vec![contact(1), contact(2)], vec![past])).new.len()
    };
    assert_eq!(asked(27, Status::Dismissed, true), 0);
    assert_eq!(asked(28, Status::Dismissed, true), 1);
    let expired = Suggestion {
        status: Status::Dismissed,
        dismissed_for: Some(DismissalReason::Expired),
        changed_at: now() - TimeDelta::days(20),
        created_at: now() - TimeDelta::days(27),
        ..suggestion(1)
    };
    let next = |past| made(situation(vec![contact(1), contact(2)], vec![past])).new.len();
    assert_eq!(next(Suggestion { was_notified: true, ..expired.clone() }), 0);
    assert_eq!(next(expired), 1, "the user never knew of it");
    let met = Suggestion { status: Status::Accepted, ..suggestion(1) };
    assert_eq!(next(met), 1, "a yes is followed by another");
}

#[test]
fn five_hundred_imported_contacts_are_one_question() {
    let plan = made(situation((1..=500).map(contact).collect(), Vec::new()));
    assert_eq!(plan.new.len(), 1);
}

#[test]
fn one_who_acts_gets_one_place_that_needs_no_message_when_the_batch_has_its_three() {
    let mut acting = situation((1..=4).map(weekly).collect(), Vec::new());
    acting.acted_at = Some(now() - TimeDelta::days(13));
    assert_eq!(hours_ahead(&made(acting.clone())), [198, 246, 294, 30]);
    acting.acted_at = Some(now() - TimeDelta::days(14));
    assert_eq!(hours_ahead(&made(acting)), [198, 246, 294, 366]);
}

#[test]
fn a_pending_one_whose_time_has_begun_ends_and_the_contact_is_free_unless_the_user_was_told() {
    let begun = Span { start: now(), end: now() + TimeDelta::hours(1) };
    let expired = Suggestion { slot: begun, ..suggestion(1) };
    let plan = made(situation(vec![weekly(1)], vec![expired.clone()]));
    assert_eq!(reasons(&plan), [(expired.id, DismissalReason::Expired)]);
    assert_eq!(plan.new.len(), 1);

    let told = Suggestion { was_notified: true, ..expired };
    let plan = made(situation(vec![weekly(1)], vec![told]));
    assert_eq!(decision_on(&plan, 1), Decision::CoolingDown(now() + TimeDelta::days(7)));
}

#[test]
fn what_is_not_wanted_any_more_ends() {
    let archived = Contact { is_archived: true, ..weekly(1) };
    let met = Contact { last_met: Some(now() - TimeDelta::hours(1)), ..monthly(2) };
    // The calendar shows them on Wednesday; and a monthly contact whom it showed last week is not due in a week.
    let ahead = Contact { next_meeting: Some(now() + TimeDelta::days(3)), ..weekly(4) };
    let met_before = Contact { last_met: Some(now() - TimeDelta::days(5)), ..monthly(5) };
    let contacts = vec![archived, met, weekly(3), ahead, met_before, weekly(6)];
    let mut situation = situation(contacts, (1..=6).map(suggestion).collect());
    situation.excluded.insert(Uuid::from_u128(3));
    assert_eq!(announceable(situation.clone(), &[]), [suggestion(6).id]);
    assert!(announceable(situation.clone(), &[suggestion(6).id]).is_empty(), "its time is taken");
    let plan = made(situation);
    let ended: Vec<_> = (1..=4).map(|number| (suggestion(number).id, DismissalReason::Unwanted)).collect();
    assert_eq!(reasons(&plan), ended);
    assert_eq!(decision_on(&plan, 1), Decision::Archived);
    assert_eq!(decision_on(&plan, 2), Decision::NotDue(now() + TimeDelta::hours(30 * 24 - 1)));
    assert_eq!(decision_on(&plan, 3), Decision::Excluded);
    assert_eq!(decision_on(&plan, 4), Decision::MeetsAnyway(now() + TimeDelta::days(3)));
    assert_eq!(decision_on(&plan, 5), Decision::Open, "it waits for the end of its time");
    assert_eq!(decision_on(&plan, 6), Decision::Open);
}

#[test]
fn a_time_that_is_lost_is_replaced_and_only_without_another_the_suggestion_ends() {
    let lost = [suggestion(1).id];
    let found = plan(situation(vec![weekly(1)], vec![suggestion(1)]), &free(), &lost);
    assert_eq!((found.moved.len(), found.dismissed.len(), found.new.len()), (1, 0, 0));
    let none = plan(situation(vec![weekly(1)], vec![suggestion(1)]), &Spans::default(), &lost);
    assert_eq!((none.moved.len(), reasons(&none)), (0, vec![(lost[0], DismissalReason::Conflict)]));
    assert_eq!(decision_on(&none, 1), Decision::NoTime);
}

#[test]
fn a_time_that_is_lost_is_replaced_by_one_at_which_the_contact_is_due() {
    let last_met = Some(now() - TimeDelta::days(18));
    let twelve_days_from_now = Contact { last_met, ..monthly(1) };
    let contacts = || vec![twelve_days_from_now.clone(), weekly(2)];
    let lost = [suggestion(1).id];
    let found = plan(situation(contacts(), vec![suggestion(1)]), &free(), &lost);
    let slot = found.moved[0].slot;
    assert!(slot.start >= now() + TimeDelta::days(11), "{slot:?}");
    let moved = Suggestion { slot, ..suggestion(1) };
    assert_eq!(announceable(situation(contacts(), vec![moved]), &[]), lost);
    // Without one, it has a time nonetheless: the application shows it.
    let soon = Spans::from(Span { start: now(), end: now() + TimeDelta::days(10) }).and(&free());
    let shown = plan(situation(contacts(), vec![suggestion(1)]), &soon, &lost);
    assert_eq!((shown.moved.len(), reasons(&shown)), (1, Vec::new()));
}

#[test]
fn a_snoozed_one_whose_time_has_come_gets_a_new_time_or_waits() {
    let snoozed = |until| Suggestion {
        status: Status::Snoozed,
        snoozed_until: Some(until),
        slot: Span { start: now() - TimeDelta::days(3), end: now() - TimeDelta::days(2) },
        ..suggestion(1)
    };
    let due = made(situation(vec![weekly(1)], vec![snoozed(now())]));
    assert_eq!(due.moved.len(), 1);
    // Also where the best time is the one that it had, which the user has just declined.
    let same = Suggestion { slot: due.moved[0].slot, ..snoozed(now()) };
    let other = made(situation(vec![weekly(1)], vec![same.clone()]));
    assert!(other.moved.len() == 1 && other.moved[0].slot.and(&same.slot).is_empty(), "{other:?}");
    let later = made(situation(vec![weekly(1)], vec![snoozed(now() + TimeDelta::hours(1))]));
    assert_eq!((later.moved.len(), later.dismissed.len()), (0, 0));
    let busy = plan(situation(vec![weekly(1)], vec![snoozed(now())]), &Spans::default(), &[]);
    assert_eq!(busy, Plan { decisions: vec![(Uuid::from_u128(1), Decision::Open)], ..Plan::default() });
}

#[test]
fn one_that_was_snoozed_and_that_no_message_announced_again_gets_another_time() {
    let begun = |awaits_message| Suggestion {
        slot: Span { start: now() - TimeDelta::minutes(1), end: now() + TimeDelta::hours(1) },
        was_notified: true,
        awaits_message,
        ..suggestion(1)
    };
    let known = || situation(vec![weekly(1)], vec![begun(true)]);
    let plan_of = made(known());
    assert_eq!((plan_of.moved.len(), reasons(&plan_of)), (1, Vec::new()));
    // It is not announced before it has one, and waits for it.
    assert!(announceable(known(), &[]).is_empty());
    let busy = plan(known(), &Spans::default(), &[]);
    assert_eq!((busy.moved.len(), reasons(&busy)), (0, Vec::new()));
    // Without a message to wait for it ends, as one that was announced.
    let without_channel = Situation { horizon: Horizon::new(now(), None), ..known() };
    for ended in [without_channel, situation(vec![weekly(1)], vec![begun(false)])] {
        assert_eq!(reasons(&made(ended)), [(suggestion(1).id, DismissalReason::Expired)]);
    }
}

#[test]
fn the_same_person_is_suggested_once() {
    let twice = |number| Contact { email: Some("ana@example.test".to_owned()), ..weekly(number) };
    let plan = made(situation(vec![twice(1), twice(2), weekly(3)], Vec::new()));
    assert_eq!(plan.new.len(), 2);
    assert_eq!(decision_on(&plan, 2), Decision::SamePerson);
    let plan = made(situation(vec![twice(1), twice(2)], vec![suggestion(2)]));
    assert_eq!(decision_on(&plan, 1), Decision::SamePerson);
    let archived = Contact { is_archived: true, ..twice(2) };
    assert_eq!(made(situation(vec![twice(1), archived], Vec::new())).new.len(), 1);
}

#[test]
fn whom_the_calendar_shows_soon_needs_no_suggestion() {
    let meets = |days| Contact { next_meeting: Some(now() + TimeDelta::days(days)), ..weekly(1) };
    let plan = made(situation(vec![meets(14)], Vec::new()));
    assert_eq!(decision_on(&plan, 1), Decision::MeetsAnyway(now() + TimeDelta::days(14)));
    assert_eq!(made(situation(vec![meets(15)], Vec::new())).new.len(), 1);
}

#[test]
fn in_a_pause_suggestions_end_and_no_other_thing_happens() {
    let expired =
        Suggestion { slot: Span { start: now(), end: now() + TimeDelta::hours(1) }, ..suggestion(1) };
    let snoozed = Suggestion { status: Status::Snoozed, snoozed_until: Some(now()), ..suggestion(2) };
    let mut paused = situation(vec![weekly(1), weekly(2), weekly(3)], vec![expired.clone(), snoozed]);
    paused.is_paused = true;
    let plan = made(paused);
    assert_eq!(reasons(&plan), [(expired.id, DismissalReason::Expired)]);
    assert_eq!((plan.moved.as_slice(), plan.new.as_slice()), ([].as_slice(), [].as_slice()));
    assert_eq!(decision_on(&plan, 3), Decision::Paused);
}

#[test]
fn a_dismissal_with_a_reason_is_followed() {
    let dismissed = |feedback, days_ago| Suggestion {
        status: Status::Dismissed,
        feedback: Some(feedback),
        changed_at: now() - TimeDelta::days(days_ago),
        // A Monday evening.
        slot: Span { start: now() - TimeDelta::hours(139), end: now() - TimeDelta::hours(138) },
        ..suggestion(1)
    };
    let never = made(situation(vec![weekly(1)], vec![dismissed(Feedback::DontSuggestContact, 400)]));
    assert_eq!(decision_on(&never, 1), Decision::Excluded);
    // The first slot would be on a Monday evening; the next best is at a weekend.
    assert_eq!(hours_ahead(&made(situation(vec![weekly(1)], Vec::new()))), [198]);
    let off = || dismissed(Feedback::TimingOff, 8);
    assert_eq!(hours_ahead(&made(situation(vec![weekly(1)], vec![off()]))), [311]);
    let lost = Suggestion { id: Uuid::from_u128(7), ..suggestion(1) };
    let moved = plan(situation(vec![weekly(1)], vec![off(), lost]), &free(), &[Uuid::from_u128(7)]);
    assert_eq!((moved.moved[0].slot.start - now()).num_hours(), 311);
    let met = made(situation(vec![monthly(1)], vec![dismissed(Feedback::AlreadyInTouch, 3)]));
    assert_eq!(decision_on(&met, 1), Decision::NotDue(now() + TimeDelta::days(27)));
}

#[test]
fn what_was_announced_or_arranged_does_not_take_the_early_place() {
    let soon = Span { start: now() + TimeDelta::hours(53), end: now() + TimeDelta::hours(54) };
    let told = Suggestion { slot: soon, was_notified: true, ..suggestion(4) };
    let accepted = Suggestion { status: Status::Accepted, slot: soon, ..suggestion(5) };
    let mut acting = situation([1, 2, 3, 7].map(weekly).to_vec(), vec![told, accepted]);
    acting.acted_at = Some(now());
    // Not next to what is on Tuesday.
    assert_eq!(hours_ahead(&made(acting.clone())), [198, 246, 294, 102]);
    acting.suggestions.push(Suggestion { slot: soon, ..suggestion(6) });
    assert_eq!(hours_ahead(&made(acting)), [198, 246, 294]);
}

#[test]
fn families_that_share_a_number_are_not_one_person() {
    let of = |number, name: &str| Contact {
        name: name.to_owned(),
        phone: Some("+49 30 1234567".to_owned()),
        ..weekly(number)
    };
    let plan = made(situation(vec![of(1, "Ana Lima"), of(2, "Ben Lima"), of(3, "Ana")], Vec::new()));
    assert_eq!(plan.new.len(), 2);
    assert_eq!(decision_on(&plan, 3), Decision::SamePerson);
}

#[test]
fn a_suggestion_of_a_contact_that_the_user_wants_to_hear_nothing_of_ends() {
    let na = Contact { frequency: Some(Frequency::Na), ..weekly(1) };
    let plan = made(situation(vec![na], vec![suggestion(1)]));
    assert_eq!(reasons(&plan), [(suggestion(1).id, DismissalReason::Unwanted)]);
}
