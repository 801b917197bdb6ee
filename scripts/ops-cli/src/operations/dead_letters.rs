//! Dead letters: found by a selection.

use std::fmt::Write as _;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::db::dead_letters::{DeadLetters, Filter, StoredDeadLetter, StoredFailure};
use shared::queue::Queue;
use uuid::Uuid;

use super::{Listed, Operations};
use crate::{moment, said};

/// Which dead letters are meant, of those that were not replayed; each condition that is given must be true.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selection {
    pub(crate) queue: Option<Queue>,
    pub(crate) reason: Option<String>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) user: Option<Uuid>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Selection {
    fn filter(&self) -> Filter<'_> {
        Filter {
            function: self.queue.map(Queue::name),
            reason: self.reason.as_deref(),
            fingerprint: self.fingerprint.as_deref(),
            user_id: self.user,
            since: self.since,
            until: self.until,
        }
    }

    /// Each condition by its name, as the options of a command and the parameters of an address spell it.
    pub(crate) fn conditions(&self) -> Vec<(&'static str, String)> {
        [
            ("queue", self.queue.map(|queue| queue.name().to_owned())),
            ("reason", self.reason.clone()),
            ("fingerprint", self.fingerprint.clone()),
            ("user", self.user.map(|user| user.to_string())),
            ("since", self.since.map(exact)),
            ("until", self.until.map(exact)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// The command that does this with all of them, as it can be pasted into a shell.
    pub(crate) fn command(&self, verb: &str) -> String {
        let mut text = format!("dead-letters {verb}");
        for (name, value) in self.conditions() {
            let _infallible = write!(text, " --{name} {}", quoted(&value));
        }
        if *self == Self::default() && verb != "list" {
            text.push_str(" --all");
        }
        text
    }

    /// In words: ` of calendar-sync, since …`, or nothing when all are meant.
    pub(crate) fn words(&self) -> String {
        said::conditions(self.conditions().iter().map(|(name, value)| format!("{name} {value}")))
    }

    pub(crate) fn as_json(&self) -> Value {
        self.conditions().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }
}

/// A time without loss: the database keeps microseconds.
pub(super) fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.:/@+".contains(it);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Operations {
    /// Dead letters of a selection, oldest first.
    pub(crate) async fn dead_letters(
        &self,
        selection: &Selection,
        limit: u32,
    ) -> anyhow::Result<Listed<StoredDeadLetter>> {
        let db = DeadLetters::from(self.database()?);
        Ok(Listed::of(db.list_open(&selection.filter(), limit.saturating_add(1)).await?, limit))
    }

    /// Their ids, oldest first.
    pub(crate) async fn dead_letter_ids(
        &self,
        selection: &Selection,
        limit: u32,
    ) -> anyhow::Result<Vec<String>> {
        Ok(DeadLetters::from(self.database()?).open_ids(&selection.filter(), limit).await?)
    }

    pub(crate) async fn count_dead_letters(&self, selection: &Selection) -> anyhow::Result<i64> {
        Ok(DeadLetters::from(self.database()?).count_open(&selection.filter()).await?)
    }

    /// One dead letter, replayed or not, if it is there.
    pub(crate) async fn find_dead_letter(&self, id: &str) -> anyhow::Result<Option<StoredDeadLetter>> {
        Ok(DeadLetters::from(self.database()?).get(id).await?)
    }

    /// The same; without it, an error.
    pub(crate) async fn dead_letter(&self, id: &str) -> anyhow::Result<StoredDeadLetter> {
        self.find_dead_letter(id).await?.with_context(|| format!("there is no dead letter {id}"))
    }

    /// Its failed runs, in their order.
    pub(crate) async fn failures_of(
        &self,
        dead_letter: &StoredDeadLetter,
    ) -> anyhow::Result<Vec<StoredFailure>> {
        Ok(DeadLetters::from(self.database()?).failures_of(dead_letter).await?)
    }
}

/// A dead letter without its body, which is personal.
pub(crate) fn summary(dead_letter: &StoredDeadLetter) -> Value {
    json!({
        "id": dead_letter.id,
        "queue": dead_letter.function,
        "key": dead_letter.key,
        "task": dead_letter.task_name,
        "user": dead_letter.user_id,
        "state": dead_letter.state,
        "deaths": dead_letter.deaths,
        "failures": dead_letter.failures,
        "reason": dead_letter.reason,
        "error": dead_letter.error,
        "fingerprint": dead_letter.fingerprint,
        "createdAt": moment::text(dead_letter.created_at),
        "updatedAt": dead_letter.updated_at.to_rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use catchup::queues;

    use super::*;

    #[test]
    fn a_selection_is_shown_as_the_options_that_select_the_same() {
        let selection = Selection {
            queue: Some(queues::CALENDAR_SYNC),
            fingerprint: Some("it's $HOME".to_owned()),
            since: Some("2026-11-27T03:00:00.123456Z".parse().unwrap()),
            ..Selection::default()
        };
        let options =
            r"--queue calendar-sync --fingerprint 'it'\''s $HOME' --since 2026-11-27T03:00:00.123456Z";
        assert_eq!(selection.command("replay"), format!("dead-letters replay {options}"));
        assert_eq!(Selection::default().command("replay"), "dead-letters replay --all");
        assert_eq!(Selection::default().command("list"), "dead-letters list");
        assert_eq!(Selection::default().words(), "");
    }
}
