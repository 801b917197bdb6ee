//! What became of everybody, as a table.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::memory::Memory;
use super::people::{Kind, Person};

/// One row per kind of people.
#[derive(Debug, Serialize)]
pub struct Table(BTreeMap<Kind, Row>);

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    people: usize,
    digests: usize,
    suggestions: usize,
    questions: usize,
    reminders: u32,
    /// What people did.
    deeds: u32,
    /// Weeks in which a contact was due and could be suggested.
    expected_weeks: u32,
    /// Those in which one was.
    good_weeks: u32,
    /// Those whose message met a provider that did not answer: it may have taken it.
    unanswered_weeks: u32,
    /// For so many weeks a contact that could be suggested waited.
    longest_wait_weeks: u32,
}

impl Table {
    pub(super) fn of(people: &[(Person, Memory)]) -> Self {
        let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
        for (person, memory) in people {
            let row = rows.entry(person.kind).or_default();
            row.people += 1;
            row.digests += memory.digests.len();
            row.suggestions += memory.digests.iter().map(|digest| digest.announced.len()).sum::<usize>();
            row.questions += usize::from(memory.asked_at.is_some());
            row.reminders += memory.other_messages;
            row.deeds += memory.deeds;
            row.expected_weeks += memory.expected_weeks;
            row.good_weeks += memory.good_weeks;
            row.unanswered_weeks += memory.unanswered_weeks;
            row.longest_wait_weeks = row.longest_wait_weeks.max(memory.longest_wait);
        }
        Self(rows)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12}{:>8}{:>9}{:>13}{:>11}{:>11}{:>7}{:>12}{:>8}{:>12}{:>14}",
            "who",
            "people",
            "digests",
            "suggestions",
            "questions",
            "reminders",
            "deeds",
            "weeks due",
            "kept",
            "no answer",
            "longest wait"
        )?;
        for (kind, row) in &self.0 {
            writeln!(
                f,
                "{:<12}{:>8}{:>9}{:>13}{:>11}{:>11}{:>7}{:>12}{:>8}{:>12}{:>12} w",
                format!("{kind:?}").to_lowercase(),
                row.people,
                row.digests,
                row.suggestions,
                row.questions,
                row.reminders,
                row.deeds,
                row.expected_weeks,
                row.good_weeks,
                row.unanswered_weeks,
                row.longest_wait_weeks,
            )?;
        }
        Ok(())
    }
}
