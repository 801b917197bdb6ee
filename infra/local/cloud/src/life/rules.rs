//! What may be expected of a message, and of a week, by the person who gets it.

use catchup::links::Link;
use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;
use messaging_stand_in::{Channel, Message};

use super::links::Found;
use super::memory::Memory;
use super::people::{Kind, Person};
use super::record::{Announced, Entry};
use crate::verify::frequency;

const LEAD: TimeDelta = TimeDelta::hours(2);
/// A contact may be met so long before they are due: a meeting that is suggested once a week is on some day of it.
const DUE_LATER: TimeDelta = TimeDelta::days(1);
/// Who meets within this time needs no suggestion.
const MEETS_ANYWAY: TimeDelta = TimeDelta::days(14);
/// What was entered in a calendar is known after this time, at the latest.
const KNOWN_AFTER: TimeDelta = TimeDelta::days(1);
/// A calendar that cannot be read any more is noticed within this time.
const UNTIL_LOST: TimeDelta = TimeDelta::days(3);
const MAX_PER_DIGEST: usize = 3;
const REDUCED_AFTER: usize = 3;
pub(crate) const QUESTION_AFTER: usize = 6;
/// Texts come at these hours of the day, and meetings are proposed for them.
const TEXTS: (u32, u32) = (8, 21);
const MEETINGS: (u32, u32) = (9, 21);
/// Two digests by one channel are at least so far apart.
pub(crate) const APART: TimeDelta = TimeDelta::days(3);
/// Gmail cuts off what is longer.
const MAX_HTML_BYTES: usize = 60_000;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Digest,
    Question,
    Reminder,
}

impl Subject {
    pub(crate) fn of(entries: &[Entry]) -> Option<Self> {
        let subject = &entries.first()?.subject;
        Some(if subject.starts_with("suggestion:") {
            Self::Digest
        } else if subject.starts_with("still_useful:") {
            Self::Question
        } else {
            Self::Reminder
        })
    }
}

/// A message as its reader sees it.
pub(crate) struct Reading<'a> {
    pub(crate) person: &'a Person,
    pub(crate) memory: &'a Memory,
    pub(crate) message: &'a Message,
    pub(crate) subject: Subject,
    pub(crate) entries: &'a [Entry],
    pub(crate) announced: &'a [Announced],
    pub(crate) links: &'a [Found],
    /// Digests that said nothing, up to this one.
    pub(crate) ignored: usize,
}

impl Reading<'_> {
    /// What is wrong with it.
    pub(crate) fn problems(&self) -> Vec<String> {
        let Self { person, memory, message, entries, .. } = self;
        let at = message.received_at;
        let mut problems = Vec::new();
        let mut rule = |is_kept: bool, what: &str| {
            if !is_kept {
                problems.push(format!("{} of {}: {what}", self.name(), at.format("%F %H:%M")));
            }
        };
        rule(entries.iter().all(|entry| entry.user_id == person.id), "the ledger has it for another person");
        let channel = match message.channel {
            Channel::Email => "email",
            Channel::Sms => "sms",
        };
        rule(entries.iter().all(|entry| entry.channel == channel), "the ledger has it on another channel");
        rule(person.kind != Kind::Unreached, "nothing was switched on");
        let is_text = message.channel == Channel::Sms;
        let has_left = memory.left(message.channel).is_some_and(|since| at > since);
        rule(!has_left || (!is_text && self.subject == Subject::Reminder), "the channel was left");
        let hour = at.with_timezone(&person.zone).hour();
        rule(!is_text || (TEXTS.0..TEXTS.1).contains(&hour), "a text at night");
        rule(message.html.as_ref().is_none_or(|html| html.len() <= MAX_HTML_BYTES), "too long");
        let can_leave =
            is_text || self.links.iter().any(|found| matches!(found.link, Link::Unsubscribe { .. }));
        rule(can_leave, "no way to unsubscribe");
        match self.subject {
            Subject::Digest => self.digest(&mut rule),
            Subject::Question => {
                rule(self.ignored >= QUESTION_AFTER, "asked too early");
                rule(!memory.is_asked(at), "asked again");
            }
            Subject::Reminder => rule(person.kind == Kind::Revokes, "nothing was to be reminded of"),
        }
        problems
    }

    fn digest(&self, rule: &mut impl FnMut(bool, &str)) {
        let Self { memory, message, announced, .. } = self;
        let at = message.received_at;
        rule(announced.len() == self.entries.len(), "a suggestion is not there");
        let max = if self.ignored >= REDUCED_AFTER { 1 } else { MAX_PER_DIGEST };
        rule(announced.len() <= max, "too many suggestions");
        rule(self.ignored < QUESTION_AFTER && !memory.is_asked(at), "the reader reacts to nothing");
        rule(!memory.is_paused(at), "suggestions are paused");
        let is_known = memory.calendar_lost.is_none_or(|since| at < since + UNTIL_LOST);
        rule(is_known, "the calendar is not known");
        let before = memory.digests.iter().rfind(|digest| digest.channel == message.channel);
        rule(before.is_none_or(|before| before.at + APART <= at), "the second of one week");
        if message.channel == Channel::Email {
            let has_links = |one: &Announced| {
                let suggestion = one.suggestion;
                let links =
                    [Link::WeMet { suggestion }, Link::NotNow { suggestion }, Link::Never { suggestion }];
                links.iter().all(|link| self.links.iter().any(|found| found.link == *link))
            };
            rule(announced.iter().all(has_links), "a card lacks one of its three buttons");
        }
        for one in *announced {
            self.suggestion(one, rule);
        }
    }

    fn suggestion(&self, one: &Announced, rule: &mut impl FnMut(bool, &str)) {
        let Self { person, memory, .. } = self;
        let at = self.message.received_at;
        let before = memory.digests.iter().filter(|digest| digest.channel == self.message.channel);
        let is_news =
            before.flat_map(|digest| &digest.announced).all(|told| *told != (one.suggestion, one.start));
        rule(is_news, "a suggestion comes a second time");
        rule(one.start >= at + LEAD, "a suggestion begins within two hours, or has begun");
        rule(one.status == "pending", "a suggestion is not open");
        rule(!one.archived, "a contact is archived");
        rule(one.frequency.as_deref() != Some("na"), "a contact is not to be met");
        rule(!one.meets_soon, "the two meet anyway");
        // Whatever is recorded: what the person entered a day ago is known.
        let mut entered = memory
            .meetings
            .iter()
            .filter(|meeting| meeting.contact == one.contact && meeting.entered_at + KNOWN_AFTER <= at);
        let own = frequency(one.frequency.as_deref());
        let counts =
            |start| if start > at { start <= at + MEETS_ANYWAY } else { start + own > one.start + DUE_LATER };
        rule(!entered.any(|meeting| counts(meeting.start)), "the calendar has a meeting of the two");
        rule(!memory.never.contains(&one.contact), "never, the reader said");
        let cooling = memory.cooling.get(&one.contact);
        rule(cooling.is_none_or(|until| *until <= at), "the reader does not want to hear of the contact yet");
        let last_contact = one.last_contact.max(memory.in_touch.get(&one.contact).copied());
        let is_due = last_contact.is_none_or(|last| last + own <= one.start + DUE_LATER);
        let is_again = memory.snoozed.contains_key(&one.contact);
        rule(is_due || is_again, "the contact is not due");
        let (start, end) = (local(one.start, person.zone), local(one.end, person.zone));
        let is_by_day = start.0 == end.0 && start.1 >= MEETINGS.0 * 60 && end.1 <= MEETINGS.1 * 60;
        rule(is_by_day, "a meeting at night");
    }

    fn name(&self) -> &'static str {
        match (self.subject, self.message.channel) {
            (Subject::Digest, Channel::Email) => "digest",
            (Subject::Digest, Channel::Sms) => "text with suggestions",
            (Subject::Question, _) => "question",
            (Subject::Reminder, _) => "reminder",
        }
    }
}

/// Day and minute of the day there.
fn local(moment: DateTime<Utc>, zone: Tz) -> (chrono::NaiveDate, u32) {
    let local = moment.with_timezone(&zone);
    (local.date_naive(), local.hour() * 60 + local.minute())
}
