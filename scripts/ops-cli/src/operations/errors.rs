//! What fails, grouped by how it looks, and what operators say of it.

use anyhow::{Context as _, ensure};
use catchup::queues;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared::db::error_states::{ErrorState, ErrorStates, NewState};
use shared::db::errors::{ErrorGroup, Errors, Filter};
use shared::db::operator_actions::{Action, NewAction};
use shared::queue::Queue;
use uuid::Uuid;

use super::actions::Request;
use super::{Listed, Operations, UNCHANGED};

/// Which failures are meant.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) queue: Option<Queue>,
    pub(crate) reason: Option<String>,
    pub(crate) user: Option<Uuid>,
    pub(crate) since: DateTime<Utc>,
    pub(crate) until: Option<DateTime<Utc>>,
    /// Also those that are fixed or ignored.
    pub(crate) all: bool,
}

/// An error, and what is said of it.
#[derive(Debug, Serialize)]
pub(crate) struct KnownError {
    #[serde(flatten)]
    pub(crate) group: ErrorGroup,
    /// None of one of which nothing was said.
    pub(crate) state: Option<ErrorState>,
}

/// Errors, and how many are left out because of what was said of them.
#[derive(Debug, Serialize)]
pub(crate) struct KnownErrors {
    pub(crate) errors: Listed<KnownError>,
    pub(crate) hidden: Hidden,
}

/// Errors that are not shown, whenever they happened last.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Hidden {
    pub(crate) fixed: usize,
    pub(crate) ignored: usize,
}

/// What is to be said of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ErrorChange {
    Fixed { revision: Option<String> },
    Ignored { until_count: i32 },
    Open,
}

impl Hidden {
    fn of(states: &[ErrorState]) -> Self {
        let count = |state: &str| states.iter().filter(|it| it.state == state).count();
        Self { fixed: count("fixed"), ignored: count("ignored") }
    }

    /// In words, or nothing when none is hidden.
    pub(crate) fn words(&self) -> Option<String> {
        let Self { fixed, ignored } = self;
        (fixed + ignored > 0).then(|| format!("not shown: {fixed} fixed, {ignored} ignored"))
    }
}

/// What is said of an error, in words.
pub(crate) fn words(state: Option<&ErrorState>) -> String {
    let Some(state) = state else { return "open".to_owned() };
    let said = match (&state.revision, state.until_count) {
        (_, Some(count)) => format!("ignored until {count} more"),
        (Some(revision), None) => format!("fixed in {revision}"),
        (None, None) => "fixed".to_owned(),
    };
    match (state.has_regressed, state.until_count) {
        (false, _) => said,
        (true, None) => format!("regressed: {said}"),
        (true, Some(_)) => format!("reached: {said}"),
    }
}

impl ErrorChange {
    fn action(&self) -> Action {
        match self {
            Self::Fixed { .. } => Action::FixError,
            Self::Ignored { .. } => Action::IgnoreError,
            Self::Open => Action::ReopenError,
        }
    }
}

impl Operations {
    /// What failed, the newest first; what is fixed or ignored only if it has regressed, or is asked for.
    pub(crate) async fn errors(&self, question: &Question, limit: u32) -> anyhow::Result<KnownErrors> {
        let (database, now) = (self.database()?, self.clock.now());
        let function = question.queue.map(Queue::name);
        let mut states = ErrorStates::from(database.clone()).list(function, now).await?;
        let hidden: Vec<_> =
            states.iter().filter(|state| !question.all && !state.has_regressed).cloned().collect();
        let (functions, fingerprints): (Vec<_>, Vec<_>) =
            hidden.iter().map(|state| (state.function.clone(), state.fingerprint.clone())).unzip();
        let filter = Filter {
            function,
            reason: question.reason.as_deref(),
            user_id: question.user,
            since: question.since,
            until: question.until,
            without_functions: &functions,
            without_fingerprints: &fingerprints,
        };
        let groups = Errors::from(database).list(&filter, now, limit.saturating_add(1)).await?;
        let known = groups.into_iter().map(|group| {
            let is_its =
                |it: &ErrorState| it.function == group.function && it.fingerprint == group.fingerprint;
            let state = states.iter().position(is_its).map(|place| states.swap_remove(place));
            KnownError { group, state }
        });
        Ok(KnownErrors { errors: Listed::of(known.collect(), limit), hidden: Hidden::of(&hidden) })
    }

    /// What was said of an error.
    pub(crate) async fn state_of_error(
        &self,
        queue: Queue,
        fingerprint: &str,
    ) -> anyhow::Result<Option<ErrorState>> {
        let states = ErrorStates::from(self.database()?);
        let states = states.list(Some(queue.name()), self.clock.now()).await?;
        Ok(states.into_iter().find(|state| state.fingerprint == fingerprint))
    }

    /// The queues that have an error with that fingerprint.
    pub(crate) async fn queues_of_error(&self, fingerprint: &str) -> anyhow::Result<Vec<Queue>> {
        let names: Vec<_> = queues::all().map(Queue::name).collect();
        let found = ErrorStates::from(self.database()?).functions_of(fingerprint, &names).await?;
        Ok(queues::all().filter(|queue| found.iter().any(|name| name == queue.name())).collect())
    }

    /// Records what an operator says of an error of a queue.
    pub(crate) async fn change_error(
        &self,
        queue: Queue,
        fingerprint: &str,
        change: &ErrorChange,
        request: Request<'_>,
    ) -> anyhow::Result<()> {
        let has_it = self.queues_of_error(fingerprint).await?.contains(&queue);
        ensure!(has_it, "{} has no error with the fingerprint {fingerprint}", queue.name());
        let mut filter = json!({ "queue": queue.name(), "fingerprint": fingerprint });
        match change {
            ErrorChange::Fixed { revision: Some(revision) } => filter["revision"] = revision.clone().into(),
            ErrorChange::Ignored { until_count } => filter["untilCount"] = Value::from(*until_count),
            ErrorChange::Fixed { revision: None } | ErrorChange::Open => {}
        }
        let new = NewAction {
            action: change.action(),
            via: request.via,
            function: Some(queue.name()),
            user_id: None,
            filter: &filter,
            count: 1,
            why: request.why,
        };
        let action = self.begin(&new).await.context(UNCHANGED)?;
        let states = ErrorStates::from(self.database()?);
        let now = self.clock.now();
        let is_changed = match change {
            ErrorChange::Fixed { revision } => {
                let new = NewState::Fixed { revision: revision.as_deref() };
                states.set(queue.name(), fingerprint, new, now).await?;
                true
            }
            ErrorChange::Ignored { until_count } => {
                let new = NewState::Ignored { until_count: *until_count };
                states.set(queue.name(), fingerprint, new, now).await?;
                true
            }
            ErrorChange::Open => states.clear(queue.name(), fingerprint).await?,
        };
        self.end(action, usize::from(is_changed)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_error_is_said_in_words() {
        let state = |state: &str, revision: Option<&str>, until_count, has_regressed| ErrorState {
            function: String::new(),
            fingerprint: String::new(),
            state: state.to_owned(),
            revision: revision.map(str::to_owned),
            until_count,
            at: DateTime::UNIX_EPOCH,
            has_regressed,
        };
        assert_eq!(words(None), "open");
        assert_eq!(words(Some(&state("fixed", Some("sync-00012"), None, false))), "fixed in sync-00012");
        assert_eq!(words(Some(&state("fixed", None, None, true))), "regressed: fixed");
        assert_eq!(words(Some(&state("ignored", None, Some(9), false))), "ignored until 9 more");
        assert_eq!(Hidden::default().words(), None);
        let hidden = Hidden { fixed: 1, ignored: 2 };
        assert_eq!(hidden.words().unwrap(), "not shown: 1 fixed, 2 ignored");
    }
}
