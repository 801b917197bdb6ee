//! Dead letters: found by a selection, replayed and discarded.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use catchup::queues;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::db::dead_letters::{DeadLetters, Filter, StoredDeadLetter, StoredFailure};
use shared::db::operator_actions::{Action, NewAction};
use shared::queue::Queue;
use shared::replay;
use shared::tasks::Tasks;
use uuid::Uuid;

use super::actions::Request;
use super::{Listed, Operations, UNCHANGED};
use crate::moment;

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
        let words: Vec<_> = self.conditions().iter().map(|(name, value)| format!("{name} {value}")).collect();
        if words.is_empty() { String::new() } else { format!(" with {}", words.join(", ")) }
    }

    pub(crate) fn as_json(&self) -> Value {
        self.conditions().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }
}

/// A time without loss: the database keeps microseconds.
fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.:/@+".contains(it);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What became of the dead letters of a replay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Their tasks exist.
    pub(crate) sent: usize,
    /// They were replayed before, and have not died since.
    pub(crate) sent_before: Vec<String>,
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

    /// Replays these dead letters, which were found by a `filter`. An error ends it: those before are replayed, and the same call
    /// continues, because each is one task however often it is replayed.
    pub(crate) async fn replay(
        &self,
        dead_letters: &[StoredDeadLetter],
        filter: &Value,
        again: bool,
        request: Request<'_>,
        mut progress: impl FnMut(usize),
    ) -> anyhow::Result<Replayed> {
        let action =
            self.begin(&bulk(Action::Replay, dead_letters, filter, request)).await.context(UNCHANGED)?;
        let mut replayed = Replayed::default();
        let mut producers = HashMap::new();
        let mut result = Ok(());
        for (number, dead_letter) in dead_letters.iter().enumerate() {
            match self.replay_one(dead_letter, again, &mut producers).await {
                Ok(true) => replayed.sent += 1,
                Ok(false) => replayed.sent_before.push(dead_letter.id.clone()),
                Err(error) => {
                    result = Err(error.context(format!(
                        "dead letter {} is not replayed; {} of {} are, and the same again continues",
                        dead_letter.id,
                        replayed.sent,
                        dead_letters.len()
                    )));
                    break;
                }
            }
            progress(number + 1);
        }
        let ended = self.end(action, replayed.sent).await;
        result.and(ended).map(|()| replayed)
    }

    /// Returns whether it was not replayed before.
    async fn replay_one(
        &self,
        dead_letter: &StoredDeadLetter,
        again: bool,
        producers: &mut HashMap<&'static str, Tasks>,
    ) -> anyhow::Result<bool> {
        let queue = queues::all().find(|queue| queue.name() == dead_letter.function);
        let queue = queue.with_context(|| format!("there is no queue {}", dead_letter.function))?;
        if !producers.contains_key(queue.name()) {
            producers.insert(queue.name(), self.producer(queue).await?);
        }
        let tasks = &producers[queue.name()];
        let create = async |name, body| -> anyhow::Result<()> {
            tasks.replay(queue, name, body).await.map(drop).map_err(Into::into)
        };
        let db = DeadLetters::from(self.database()?);
        replay::replay(&db, queue, dead_letter, again, self.clock.now(), create).await
    }

    /// Deletes these dead letters, which were found by a `filter`, with the recorded failures of their tasks. Returns how many
    /// were still there.
    pub(crate) async fn discard(
        &self,
        dead_letters: &[StoredDeadLetter],
        filter: &Value,
        request: Request<'_>,
    ) -> anyhow::Result<usize> {
        let action =
            self.begin(&bulk(Action::Discard, dead_letters, filter, request)).await.context(UNCHANGED)?;
        let db = DeadLetters::from(self.database()?);
        let (mut discarded, mut result) = (0, Ok(()));
        for dead_letter in dead_letters {
            match db.discard(&dead_letter.id).await {
                Ok(was_there) => discarded += usize::from(was_there),
                Err(error) => {
                    let all = dead_letters.len();
                    result = Err(
                        anyhow::Error::from(error).context(format!("{discarded} of {all} are discarded"))
                    );
                    break;
                }
            }
        }
        let ended = self.end(action, discarded).await;
        result.and(ended).map(|()| discarded)
    }
}

/// An action on dead letters; if all are of one queue, or about one user, it says so.
fn bulk<'a>(
    action: Action,
    dead_letters: &'a [StoredDeadLetter],
    filter: &'a Value,
    request: Request<'a>,
) -> NewAction<'a> {
    let first = dead_letters.first();
    let function = first.map(|it| it.function.as_str());
    let user_id = first.and_then(|it| it.user_id);
    NewAction {
        action,
        via: request.via,
        function: function.filter(|function| dead_letters.iter().all(|it| it.function == *function)),
        user_id: user_id.filter(|_| dead_letters.iter().all(|it| it.user_id == user_id)),
        filter,
        count: dead_letters.len(),
        why: request.why,
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
