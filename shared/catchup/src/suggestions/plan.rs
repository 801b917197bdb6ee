//! Whom a user is suggested to meet, when, and why not the others: pure.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::Contact;
use super::history::{Block, Past, pasts};
use super::part_of_week::PartOfWeek;
use super::person::{identities, is_person};
use super::ranking::Due;
use super::reason::reason;
use super::times::{Horizon, Times};
use crate::db::suggestions::{Ending, NewSuggestion, NewTime, Status, Suggestion};
use crate::span::{Span, Spans};

/// Open suggestions of one user.
pub const MAX_OPEN: usize = 5;
/// A user who acts looks into the application, where a suggestion is seen without a message.
const ACTIVE: TimeDelta = TimeDelta::days(14);
/// Whom the calendar shows within this time needs no suggestion.
const MEETS_ANYWAY: TimeDelta = TimeDelta::days(14);

/// All that is known when suggestions are made for a user.
#[derive(Debug, Clone)]
pub struct Situation {
    /// When.
    pub now: DateTime<Utc>,
    /// The user's.
    pub zone: Tz,
    /// For which time.
    pub horizon: Horizon,
    /// The user's contacts.
    pub contacts: Vec<Contact>,
    /// Open ones, and the user's earlier ones.
    pub suggestions: Vec<Suggestion>,
    /// In lower case.
    pub own_addresses: HashSet<String>,
    /// Contacts that the user does not want to hear of.
    pub excluded: HashSet<Uuid>,
    /// When the user acted last on a suggestion.
    pub acted_at: Option<DateTime<Utc>>,
    /// Nothing is suggested for a time before that.
    pub paused_until: Option<DateTime<Utc>>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Suggestions that get another time.
    pub moved: Vec<NewTime>,
    /// Suggestions that end.
    pub ended: Vec<(Uuid, Ending)>,
    /// Suggestions to be made.
    pub new: Vec<NewSuggestion>,
    /// One for each contact.
    pub decisions: Vec<(Uuid, Decision)>,
}

/// Why a contact is suggested, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// For this time, now.
    Suggested(Span),
    /// There is a suggestion already.
    Open,
    /// The two have an appointment.
    Accepted,
    /// Due at that time.
    NotDue(DateTime<Utc>),
    /// Dismissed, or announced without a reaction: not before that time.
    LeftAlone(DateTime<Utc>),
    /// The calendar shows a meeting at that time.
    MeetsAnyway(DateTime<Utc>),
    /// The user never wants it suggested.
    Excluded,
    /// Archived.
    Archived,
    /// The user's own address, a robot, or an organisation.
    NoPerson,
    /// The same person as another contact, who comes first.
    SamePerson,
    /// There are as many open suggestions as there may be, or one question already.
    NoPlace,
    /// No time is free, and known to be free, that would do.
    NoTime,
}

/// Decides. `free` is when the user can meet people: nothing, when that is not known. `conflicts` are pending suggestions
/// whose time is not free any more.
#[must_use]
pub fn plan(situation: Situation, free: &Spans, conflicts: &[Uuid]) -> Plan {
    let mut plan = Plan::default();
    let mut situation = situation;
    end_what_has_ended_or_is_unwanted(&mut situation, &mut plan);
    let mut times = times(&situation, free, conflicts);
    find_other_times(&mut situation, conflicts, &mut times, &mut plan);
    fill_up(&situation, &mut times, &mut plan);
    plan
}

/// Ends those whose time has begun or whose contact is not wanted any more.
fn end_what_has_ended_or_is_unwanted(situation: &mut Situation, plan: &mut Plan) {
    let Situation { now, contacts, suggestions, excluded, .. } = situation;
    let contacts: HashMap<Uuid, &Contact> = contacts.iter().map(|contact| (contact.id, contact)).collect();
    for suggestion in suggestions.iter_mut().filter(|it| it.is_open()) {
        let is_wanted = suggestion.contacts.iter().filter_map(|id| contacts.get(id)).all(|contact| {
            let was_met = contact.last_met.is_some_and(|met| met > suggestion.created_at);
            !contact.is_archived && !excluded.contains(&contact.id) && !was_met
        });
        if suggestion.status == Status::Pending && suggestion.slot.start <= *now {
            end(suggestion, Ending::Expired, *now, plan);
        } else if !is_wanted {
            end(suggestion, Ending::Unwanted, *now, plan);
        }
    }
}

fn end(suggestion: &mut Suggestion, ending: Ending, now: DateTime<Utc>, plan: &mut Plan) {
    suggestion.status = Status::Dismissed;
    suggestion.ended_as = Some(ending);
    suggestion.changed_at = now;
    plan.ended.push((suggestion.id, ending));
}

/// What is free of the user's time, without that of suggestions which keep theirs.
fn times(situation: &Situation, free: &Spans, conflicts: &[Uuid]) -> Times {
    let Situation { now, zone, horizon, suggestions, paused_until, .. } = situation;
    let paused = paused_until.map(|until| Span { start: DateTime::UNIX_EPOCH, end: until });
    let free = free.except(&paused.into_iter().collect());
    let keeps_its_time = |it: &&Suggestion| match it.status {
        Status::Pending => !conflicts.contains(&it.id),
        Status::Accepted => it.slot.end > *now,
        Status::Snoozed | Status::Dismissed => false,
    };
    let used: Vec<_> = suggestions.iter().filter(keeps_its_time).map(|it| it.slot).collect();
    let accepted = suggestions.iter().filter(|it| it.status == Status::Accepted);
    let accepted: Vec<_> = accepted.map(|it| PartOfWeek::of(it.slot.start, *zone)).collect();
    Times::new(*zone, *horizon, &free, &used, &accepted)
}

/// Finds another time for those that were snoozed until now, and for those that have lost theirs.
fn find_other_times(situation: &mut Situation, conflicts: &[Uuid], times: &mut Times, plan: &mut Plan) {
    let Situation { now, contacts, suggestions, .. } = situation;
    let zones: HashMap<Uuid, Tz> =
        contacts.iter().filter_map(|contact| Some((contact.id, contact.zone?))).collect();
    for suggestion in suggestions {
        let needs_time = match suggestion.status {
            Status::Snoozed => suggestion.snoozed_until.is_some_and(|until| until <= *now),
            Status::Pending => conflicts.contains(&suggestion.id),
            Status::Accepted | Status::Dismissed => false,
        };
        if !needs_time {
            continue;
        }
        let zone = suggestion.contacts.iter().find_map(|id| zones.get(id).copied());
        match times.take(zone, &[], false) {
            Some(slot) => {
                suggestion.status = Status::Pending;
                suggestion.slot = slot;
                plan.moved.push(NewTime { id: suggestion.id, slot });
            }
            // It waits until there is one.
            None if suggestion.status == Status::Snoozed => {}
            None => end(suggestion, Ending::Conflict, *now, plan),
        }
    }
}

/// Suggests those who are due, as long as there is place and time.
fn fill_up(situation: &Situation, times: &mut Times, plan: &mut Plan) {
    let Situation { now, zone, horizon, contacts, suggestions, .. } = situation;
    let frequencies = contacts.iter().map(|it| (it.id, it.frequency.unwrap_or_default())).collect();
    let mut pasts = pasts(suggestions, &frequencies, *zone, *now);
    let first_suggestion = suggestions.iter().map(|it| it.created_at).min();
    let mut due = Vec::new();
    let mut known = HashSet::new();
    for contact in contacts {
        let past = pasts.remove(&contact.id).unwrap_or_default();
        match decision(situation, contact, &past, first_suggestion) {
            Ok(found) => due.push((found.order(contact, &past), contact, past, found)),
            Err(decision) => {
                if decision.concerns_the_person() {
                    known.extend(identities(contact));
                }
                plan.decisions.push((contact.id, decision));
            }
        }
    }
    due.sort_by(|(one, ..), (other, ..)| one.cmp(other));

    let mut open: Vec<_> =
        suggestions.iter().filter(|it| it.is_open()).filter_map(|it| it.contacts.first()).collect();
    let is_question = |contact: &&Contact| contact.last_met.is_none() && !contact.has_word_of_user();
    let mut has_question = contacts.iter().filter(is_question).any(|contact| open.contains(&&contact.id));
    // One place of those who look into the application is for a time that no message announces.
    let is_active = situation.acted_at.is_some_and(|acted| acted + ACTIVE > *now);
    let mut has_early_place = is_active && horizon.has_batch() && !times.has_early();
    for (_, contact, past, due) in due {
        let names: Vec<_> = identities(contact).collect();
        let decision = if names.iter().any(|name| known.contains(name)) {
            Decision::SamePerson
        } else if open.len() >= MAX_OPEN || (due.is_question && has_question) {
            Decision::NoPlace
        } else {
            let mut take = |is_early| times.take(contact.zone, &past.unsuitable, is_early);
            let early = if has_early_place && !open.is_empty() { take(true) } else { None };
            has_early_place &= early.is_none();
            match early.or_else(|| take(false)) {
                Some(slot) => {
                    open.push(&contact.id);
                    has_question |= due.is_question;
                    plan.new.push(NewSuggestion {
                        contact_id: contact.id,
                        slot,
                        reasoning: reason(contact, &due, *zone, *now),
                        priority: due.priority(),
                    });
                    Decision::Suggested(slot)
                }
                None => Decision::NoTime,
            }
        };
        known.extend(names);
        plan.decisions.push((contact.id, decision));
    }
}

/// How a contact is due, or why it is not suggested.
fn decision(
    situation: &Situation,
    contact: &Contact,
    past: &Past,
    first_suggestion: Option<DateTime<Utc>>,
) -> Result<Due, Decision> {
    let now = situation.now;
    if contact.is_archived {
        return Err(Decision::Archived);
    }
    if situation.excluded.contains(&contact.id) {
        return Err(Decision::Excluded);
    }
    match past.block {
        Some(Block::Never) => return Err(Decision::Excluded),
        Some(Block::Open) => return Err(Decision::Open),
        Some(Block::Accepted) => return Err(Decision::Accepted),
        Some(Block::Until(time)) => return Err(Decision::LeftAlone(time)),
        None => {}
    }
    if !is_person(contact, &situation.own_addresses) {
        return Err(Decision::NoPerson);
    }
    let due = Due::of(contact, past, first_suggestion, now);
    let due = due.map_err(|due_at| due_at.map_or(Decision::Excluded, Decision::NotDue))?;
    match contact.next_meeting {
        Some(meeting) if meeting > now && meeting <= now + MEETS_ANYWAY => {
            Err(Decision::MeetsAnyway(meeting))
        }
        Some(_) | None => Ok(due),
    }
}

impl Decision {
    /// Whether it holds for the same person under another contact, too.
    fn concerns_the_person(self) -> bool {
        match self {
            Self::Suggested(_)
            | Self::Open
            | Self::Accepted
            | Self::NotDue(_)
            | Self::LeftAlone(_)
            | Self::MeetsAnyway(_)
            | Self::Excluded
            | Self::SamePerson
            | Self::NoPlace
            | Self::NoTime => true,
            // Of a contact that is there twice, one is archived.
            Self::Archived | Self::NoPerson => false,
        }
    }
}
