//! What a person remembers: what they got, what they said, and what they may expect.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use messaging_stand_in::Channel;
use uuid::Uuid;

use super::deeds::Deed;

/// Messages of this time are of the same batch: one channel may wait for longer than the other.
const SAME_BATCH: TimeDelta = TimeDelta::days(3);

/// A digest that a person got.
#[derive(Debug, Clone)]
pub(crate) struct Digest {
    pub(crate) at: DateTime<Utc>,
    pub(crate) channel: Channel,
    pub(crate) message: String,
    /// Suggestions, and their times.
    pub(crate) announced: Vec<(Uuid, DateTime<Utc>)>,
}

/// What becomes of a suggestion by a person's last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Accepted,
    Dismissed,
    Snoozed { until: DateTime<Utc> },
}

/// A week in which a person may expect a digest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Week {
    /// When the batch is due.
    pub(crate) at: DateTime<Utc>,
    /// A person is due, and could be suggested.
    pub(crate) is_expected: bool,
}

/// A meeting that a person entered in the calendar.
#[derive(Debug)]
pub(crate) struct Meeting {
    pub(crate) contact: Uuid,
    pub(crate) start: DateTime<Utc>,
    pub(crate) entered_at: DateTime<Utc>,
}

/// A person's memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) digests: Vec<Digest>,
    pub(crate) asked_at: Option<DateTime<Utc>>,
    pub(crate) acted_at: Option<DateTime<Utc>>,
    /// By suggestion, with its contact.
    words: BTreeMap<Uuid, (Uuid, Word)>,
    /// Contacts of whom nothing may be heard until then.
    pub(crate) cooling: HashMap<Uuid, DateTime<Utc>>,
    pub(crate) never: HashSet<Uuid>,
    /// Contacts that were snoozed, and since when they are due again.
    pub(crate) snoozed: HashMap<Uuid, DateTime<Utc>>,
    left_email: Option<DateTime<Utc>>,
    left_texts: Option<DateTime<Utc>>,
    pub(crate) paused: Option<[DateTime<Utc>; 2]>,
    /// Since when the calendar is not known.
    pub(crate) calendar_lost: Option<DateTime<Utc>>,
    /// Since when it is known again.
    pub(crate) calendar_found: Option<DateTime<Utc>>,
    /// When a person came to the zone in which they live.
    pub(crate) moved_at: Option<DateTime<Utc>>,
    /// When a person said of a contact that the two are in touch.
    pub(crate) in_touch: HashMap<Uuid, DateTime<Utc>>,
    pub(crate) meetings: Vec<Meeting>,
    /// The week that is not over.
    pub(crate) week: Option<Week>,
    /// For so many weeks a contact is due, and was not suggested.
    pub(crate) waits: HashMap<Uuid, u32>,
    pub(crate) longest_wait: u32,
    pub(crate) expected_weeks: u32,
    pub(crate) good_weeks: u32,
    /// Weeks whose message met a provider that did not answer.
    pub(crate) unanswered_weeks: u32,
    /// When the last batch was due whose message met one, and did not come.
    pub(crate) unanswered_at: Option<DateTime<Utc>>,
    pub(crate) other_messages: u32,
    pub(crate) deeds: u32,
    todo: BTreeMap<(DateTime<Utc>, usize), Deed>,
    planned: usize,
}

impl Memory {
    pub(crate) fn plan(&mut self, at: DateTime<Utc>, deed: Deed) {
        self.planned += 1;
        self.todo.insert((at, self.planned), deed);
    }

    /// What is to be done by that time, in its order.
    pub(crate) fn due(&mut self, now: DateTime<Utc>) -> Vec<Deed> {
        if self.todo.first_key_value().is_none_or(|((at, _), _)| *at > now) {
            return Vec::new();
        }
        let later = self.todo.split_off(&(now, usize::MAX));
        std::mem::replace(&mut self.todo, later).into_values().collect()
    }

    /// The last word on a suggestion, which takes back that its contact was snoozed.
    pub(crate) fn say(&mut self, suggestion: Uuid, contact: Uuid, word: Word) {
        self.words.retain(|_, (about, said)| *about != contact || !matches!(said, Word::Snoozed { .. }));
        self.words.insert(suggestion, (contact, word));
        self.snoozed.remove(&contact);
        self.cooling.remove(&contact);
        if let Word::Snoozed { until } = word {
            self.cooling.insert(contact, until);
            self.snoozed.insert(contact, until);
        }
    }

    /// What was said last, by suggestion.
    pub(crate) fn words(&self) -> impl Iterator<Item = (Uuid, Word)> {
        self.words.iter().map(|(suggestion, (_, word))| (*suggestion, *word))
    }

    pub(crate) fn leave(&mut self, channel: Channel, since: Option<DateTime<Utc>>) {
        match channel {
            Channel::Email => self.left_email = since,
            Channel::Sms => self.left_texts = since,
        }
    }

    pub(crate) fn left(&self, channel: Channel) -> Option<DateTime<Utc>> {
        match channel {
            Channel::Email => self.left_email,
            Channel::Sms => self.left_texts,
        }
    }

    pub(crate) fn is_paused(&self, at: DateTime<Utc>) -> bool {
        self.paused.is_some_and(|[start, end]| start <= at && at < end)
    }

    /// Digests of earlier batches since the last act, on the channel that has more of them; those that did not arrive say nothing.
    pub(crate) fn ignored(&self, at: DateTime<Utc>, has_failed: impl Fn(&str) -> bool) -> usize {
        let count = |channel| {
            let digests = self.digests.iter().filter(|digest| digest.channel == channel);
            digests
                .filter(|digest| self.acted_at.is_none_or(|acted| digest.at > acted))
                .filter(|digest| digest.at + SAME_BATCH <= at && !has_failed(&digest.message))
                .count()
        };
        count(Channel::Email).max(count(Channel::Sms))
    }

    /// Whether a person was asked and has said nothing since.
    pub(crate) fn is_asked(&self, at: DateTime<Utc>) -> bool {
        let asked = self.asked_at.filter(|asked| self.acted_at.is_none_or(|acted| *asked > acted));
        asked.is_some_and(|asked| asked + SAME_BATCH <= at)
    }
}
