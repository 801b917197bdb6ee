//! Whom a user is suggested to meet, when, and why not the others: pure.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use super::history::{Block, ContactHistory, histories, is_by_user};
use super::part_of_week::PartOfWeek;
use super::person::{identities, is_person};
use super::ranking::Due;
use super::reason::reason;
use super::slot_pool::{DUE_EARLIER, Horizon, SlotPool, UsedSlot};
use crate::db::suggestions::{
    Contact, Dismissal, DismissalReason, Frequency, NewSuggestion, NewTime, Status, Suggestion,
};
use crate::span::{Span, Spans};

/// Open suggestions of one user.
pub const MAX_OPEN: usize = 5;
/// A user who acts looks into the application, where a suggestion is seen without a message.
const ACTIVE: TimeDelta = TimeDelta::days(14);
/// Who did not answer a question with yes is asked no other for so long.
const QUESTION_EVERY: TimeDelta = TimeDelta::weeks(4);
/// Whom the calendar shows within this time needs no suggestion.
const MEETS_ANYWAY: TimeDelta = TimeDelta::days(14);

/// All that is known when suggestions are made for a user.
#[derive(Debug, Clone)]
pub(super) struct Situation {
    /// When.
    pub(super) now: DateTime<Utc>,
    /// The user's.
    pub(super) zone: Tz,
    /// For which time.
    pub(super) horizon: Horizon,
    /// The user's contacts.
    pub(super) contacts: Vec<Contact>,
    /// Open ones, and the user's earlier ones.
    pub(super) suggestions: Vec<Suggestion>,
    /// In lower case.
    pub(super) own_addresses: HashSet<String>,
    /// Contacts that the user does not want to hear of.
    pub(super) excluded: HashSet<Uuid>,
    /// When the user acted last on a suggestion.
    pub(super) acted_at: Option<DateTime<Utc>>,
    /// The user does not want to hear of anybody now.
    pub(super) is_paused: bool,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Suggestions that get another time.
    pub moved: Vec<NewTime>,
    /// Suggestions that we dismiss.
    pub dismissed: Vec<Dismissal>,
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
    CoolingDown(DateTime<Utc>),
    /// The calendar shows a meeting at that time.
    MeetsAnyway(DateTime<Utc>),
    /// The user wants no suggestions now.
    Paused,
    /// The user never wants it suggested.
    Excluded,
    /// Archived.
    Archived,
    /// The user's own address, a robot, or an organisation.
    NoPerson,
    /// The same person as another contact, who comes first.
    SamePerson,
    /// There are as many open suggestions as there may be, or one question already or lately.
    LimitReached,
    /// No time is free, and known to be free, that would do.
    NoTime,
}

/// Decides. `free` is when the user can meet people: nothing, when that is not known. `conflicts` are pending suggestions
/// whose time is not free any more, or none of the user's hours.
pub(super) fn plan(mut situation: Situation, free: &Spans, conflicts: &[Uuid]) -> Plan {
    let mut plan = Plan::default();
    dismiss_expired_and_unwanted(&mut situation, &mut plan);
    if situation.is_paused {
        plan.decisions.extend(situation.contacts.iter().map(|contact| (contact.id, Decision::Paused)));
        return plan;
    }
    let mut pool = pool(&situation, free, conflicts);
    find_other_times(&mut situation, conflicts, &mut pool, &mut plan);
    fill_up(&situation, &mut pool, &mut plan);
    plan
}

/// Ends those whose time has begun or whose contact is not wanted any more. Who snoozed one, and whom no message about its new time
/// reached, hears of it at another.
fn dismiss_expired_and_unwanted(situation: &mut Situation, plan: &mut Plan) {
    let Situation { now, horizon, contacts, suggestions, excluded, .. } = situation;
    let contacts: HashMap<Uuid, &Contact> = contacts.iter().map(|contact| (contact.id, contact)).collect();
    for suggestion in suggestions.iter_mut().filter(|it| it.is_open()) {
        let is_wanted = suggestion.contacts.iter().filter_map(|id| contacts.get(id)).all(|contact| {
            let was_met = contact.last_met.is_some_and(|met| met > suggestion.created_at);
            let meets_anyway =
                suggestion.calendar_event_id.is_none() && meets_anyway(contact, *now).is_some();
            let is_na = contact.frequency == Some(Frequency::Na);
            let is_wanted = !contact.is_archived && !is_na && !excluded.contains(&contact.id);
            is_wanted && !was_met && !meets_anyway
        });
        let has_begun = suggestion.status == Status::Pending && suggestion.slot.start <= *now;
        if has_begun && !(suggestion.awaits_message && horizon.has_batch()) {
            dismiss(suggestion, DismissalReason::Expired, *now, plan);
        } else if !is_wanted {
            dismiss(suggestion, DismissalReason::Unwanted, *now, plan);
        }
    }
}

/// By when the user wants to have met the contact again; none of whom it is never.
fn due_at(contact: &Contact) -> Option<DateTime<Utc>> {
    let interval = contact.frequency.unwrap_or_default().interval()?;
    Some(contact.last_met.map_or(DateTime::<Utc>::MIN_UTC, |met| met + interval))
}

/// When the calendar shows that the two meet soon.
fn meets_anyway(contact: &Contact, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    contact.next_meeting.filter(|meeting| *meeting > now && *meeting <= now + MEETS_ANYWAY)
}

/// The pending ones that are still wanted, at times that are still free; those of ours only if the contact is still due by then.
pub(super) fn announceable(mut situation: Situation, conflicts: &[Uuid]) -> Vec<Uuid> {
    dismiss_expired_and_unwanted(&mut situation, &mut Plan::default());
    let Situation { now, contacts, suggestions, .. } = situation;
    let contacts: HashMap<Uuid, &Contact> = contacts.iter().map(|contact| (contact.id, contact)).collect();
    let is_due = |it: &Suggestion| {
        let mut contacts = it.contacts.iter().filter_map(|id| contacts.get(id));
        contacts.all(|contact| due_at(contact).is_some_and(|due| due <= it.slot.start + DUE_EARLIER))
    };
    let is_announceable = |it: &&Suggestion| {
        let is_pending = it.status == Status::Pending && !needs_time(it, now, conflicts);
        is_pending && (!it.is_timebound || is_due(it))
    };
    suggestions.iter().filter(is_announceable).map(|it| it.id).collect()
}

fn dismiss(suggestion: &mut Suggestion, reason: DismissalReason, now: DateTime<Utc>, plan: &mut Plan) {
    plan.dismissed.push(Dismissal { id: suggestion.id, changed_at: suggestion.changed_at, reason });
    suggestion.status = Status::Dismissed;
    suggestion.dismissed_for = Some(reason);
    suggestion.changed_at = now;
}

/// What is free of the user's time, without that of suggestions which keep theirs.
fn pool(situation: &Situation, free: &Spans, conflicts: &[Uuid]) -> SlotPool {
    let Situation { now, zone, horizon, suggestions, .. } = situation;
    let keeps_its_time = |it: &&Suggestion| match it.status {
        Status::Pending => !needs_time(it, *now, conflicts),
        Status::Accepted => it.slot.end > *now,
        Status::Snoozed | Status::Dismissed => false,
    };
    let is_known = |it: &Suggestion| it.status == Status::Accepted || (it.was_notified && !it.awaits_message);
    let used = suggestions.iter().filter(keeps_its_time);
    let used: Vec<_> = used.map(|it| UsedSlot { span: it.slot, is_known: is_known(it) }).collect();
    let accepted = suggestions.iter().filter(|it| it.status == Status::Accepted);
    let accepted: Vec<_> = accepted.map(|it| PartOfWeek::of(it.slot.start, *zone)).collect();
    // One place of those who look into the application is for a time that no message announces.
    let is_active = situation.acted_at.is_some_and(|acted| acted + ACTIVE > *now);
    let is_early = |used: &UsedSlot| !used.is_known && horizon.is_early(used.span.start);
    let has_early = is_active && !used.iter().any(is_early);
    SlotPool::new(*zone, *horizon, free, &used, &accepted, has_early)
}

/// Whether it was snoozed until now, or has lost its time.
fn needs_time(suggestion: &Suggestion, now: DateTime<Utc>, conflicts: &[Uuid]) -> bool {
    match suggestion.status {
        Status::Snoozed => suggestion.snoozed_until.is_some_and(|until| until <= now),
        Status::Pending => suggestion.slot.start <= now || conflicts.contains(&suggestion.id),
        Status::Accepted | Status::Dismissed => false,
    }
}

/// Finds another time for those that need one, never the one that it had: if there is one, when the contact is due, since no batch
/// announces another.
fn find_other_times(situation: &mut Situation, conflicts: &[Uuid], pool: &mut SlotPool, plan: &mut Plan) {
    let histories = situation.histories();
    let Situation { now, contacts, suggestions, .. } = situation;
    let contacts: HashMap<Uuid, &Contact> = contacts.iter().map(|contact| (contact.id, contact)).collect();
    for suggestion in suggestions.iter_mut().filter(|it| needs_time(it, *now, conflicts)) {
        let mut known = suggestion.contacts.iter().filter_map(|id| contacts.get(id));
        // What was snoozed is wanted when its time has come.
        let needs_due = suggestion.is_timebound && suggestion.status == Status::Pending;
        let due = known.clone().filter(|_| needs_due).filter_map(|contact| due_at(contact)).max();
        let zone = known.find_map(|contact| contact.zone);
        let history = suggestion.contacts.first().and_then(|id| histories.get(id));
        let unsuitable = history.map_or(&[][..], |history| &history.unsuitable);
        pool.drop_overlapping(suggestion.slot);
        let mut take = |due| pool.take(zone, unsuitable, due, false);
        match due.and_then(&mut take).or_else(|| take(*now)) {
            Some(slot) => {
                let (id, changed_at) = (suggestion.id, suggestion.changed_at);
                suggestion.status = Status::Pending;
                suggestion.slot = slot;
                plan.moved.push(NewTime { id, changed_at, slot });
            }
            None if conflicts.contains(&suggestion.id) => {
                dismiss(suggestion, DismissalReason::Conflict, *now, plan);
            }
            // It waits until there is one.
            None => {}
        }
    }
}

/// Suggests those who are due, as long as there is place and time.
fn fill_up(situation: &Situation, pool: &mut SlotPool, plan: &mut Plan) {
    let Situation { now, zone, contacts, suggestions, .. } = situation;
    let mut histories = situation.histories();
    let first_suggestion = suggestions.iter().map(|it| it.created_at).min();
    let mut due = Vec::new();
    let mut known = HashSet::new();
    for contact in contacts {
        let history = histories.remove(&contact.id).unwrap_or_default();
        match decision(situation, contact, &history, first_suggestion) {
            Ok(found) => due.push((found.order(contact, &history), contact, history, found)),
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
    let mut has_question = situation.has_question();
    for (_, contact, history, due) in due {
        let names: Vec<_> = identities(contact).collect();
        let decision = if names.iter().any(|name| known.contains(name)) {
            Decision::SamePerson
        } else if open.len() >= MAX_OPEN || (due.is_question && has_question) {
            Decision::LimitReached
        } else {
            // What is not announced needs to be due by now.
            match pool.take(contact.zone, &history.unsuitable, due.since, due.since <= *now) {
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
    history: &ContactHistory,
    first_suggestion: Option<DateTime<Utc>>,
) -> Result<Due, Decision> {
    let now = situation.now;
    if contact.is_archived {
        return Err(Decision::Archived);
    }
    if situation.excluded.contains(&contact.id) {
        return Err(Decision::Excluded);
    }
    match history.block {
        Some(Block::Never) => return Err(Decision::Excluded),
        Some(Block::Open) => return Err(Decision::Open),
        Some(Block::Accepted) => return Err(Decision::Accepted),
        Some(Block::Until(time)) => return Err(Decision::CoolingDown(time)),
        None => {}
    }
    if !is_person(contact, &situation.own_addresses) {
        return Err(Decision::NoPerson);
    }
    let due = Due::of(contact, history, first_suggestion, now, situation.horizon.due_by());
    let due = due.map_err(|due_at| due_at.map_or(Decision::Excluded, Decision::NotDue))?;
    match meets_anyway(contact, now) {
        Some(meeting) => Err(Decision::MeetsAnyway(meeting)),
        None => Ok(due),
    }
}

impl Situation {
    fn histories(&self) -> HashMap<Uuid, ContactHistory> {
        histories(&self.suggestions, &self.contacts, self.zone, self.now)
    }

    /// Whether the user is asked about someone of whom nothing is known, or was lately and did not say yes.
    fn has_question(&self) -> bool {
        let unknown: HashSet<_> =
            self.contacts.iter().filter(|contact| contact.is_unknown()).map(|contact| contact.id).collect();
        let counts = |it: &&Suggestion| match it.status {
            Status::Pending | Status::Snoozed => true,
            Status::Accepted => false,
            Status::Dismissed => {
                (it.was_notified || is_by_user(it)) && it.created_at + QUESTION_EVERY > self.now
            }
        };
        let mut asked = self.suggestions.iter().filter(counts).flat_map(|it| &it.contacts);
        asked.any(|id| unknown.contains(id))
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
            | Self::CoolingDown(_)
            | Self::MeetsAnyway(_)
            | Self::Excluded
            | Self::SamePerson
            | Self::LimitReached
            | Self::Paused
            | Self::NoTime => true,
            // Of a contact that is there twice, one is archived.
            Self::Archived | Self::NoPerson => false,
        }
    }
}
