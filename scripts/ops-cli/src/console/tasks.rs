//! What waits in a queue, or what of a user waits in any.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect};
use catchup::queues;
use serde_json::json;
use shared::queue::Queue;

use super::App;
use super::access::Visitor;
use super::page::{Frame, show};
use super::pages::Shown;
use super::parameters::{Parameters, address};
use crate::operations::Source;
use crate::operations::overview::Row;
use crate::operations::tasks::{LOOKED_AT, TaskFilter, WaitingTask, WaitingTasks};

/// Rows of a page: with the longest keys, of which each is shown and in an address, it stays within its budget of 50 KB.
const ROWS: u32 = 24;
/// What of a key is shown.
const KEY_CHARS: usize = 64;

#[derive(Template)]
#[template(path = "console/tasks.html")]
struct TasksPage<'a> {
    frame: &'a Frame,
    fields: Fields,
    /// All queues, when none was chosen.
    rows: &'a [Row],
    found: Option<&'a WaitingTasks>,
    /// What was looked for, in words.
    words: String,
}

/// What the list is narrowed by, as it is shown in its form.
struct Fields {
    queue: &'static str,
    user: String,
    key: String,
    since: String,
    until: String,
}

impl Fields {
    fn of(parameters: &Parameters, queue: Option<Queue>) -> Result<Self, super::Refusal> {
        let get = |name| parameters.get(name).map(|value| value.unwrap_or_default().to_owned());
        Ok(Self {
            queue: queue.map(Queue::name).unwrap_or_default(),
            user: get("user")?,
            key: get("key")?,
            since: get("since")?,
            until: get("until")?,
        })
    }
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl TasksPage<'_> {
    fn queues(&self) -> Vec<&'static str> {
        queues::all().map(Queue::name).collect()
    }

    fn key(&self, task: &WaitingTask) -> String {
        shared::db::shortened(task.key_or_name(), KEY_CHARS)
    }

    fn is_narrowed(&self) -> bool {
        let Fields { since, until, .. } = &self.fields;
        [since, until].iter().any(|field| !field.is_empty())
    }

    /// The same conditions in that queue.
    fn of(&self, row: &Row) -> String {
        let Fields { since, until, .. } = &self.fields;
        let conditions = [("since", since), ("until", until)];
        let given = conditions.into_iter().filter(|(_, value)| !value.is_empty());
        let given = given.map(|(name, value)| (name, value.clone()));
        address("/tasks", &[("queue", row.queue.to_owned())].into_iter().chain(given).collect::<Vec<_>>())
    }

    fn life(&self, task: &WaitingTask) -> String {
        life(task.key_or_name(), Some(task.queue))
    }

    /// As many were looked at as ever are.
    fn is_all_looked_at(&self, found: &WaitingTasks) -> bool {
        found.looked_at >= LOOKED_AT
    }
}

pub(super) async fn waiting(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    match (parameters.queue()?, parameters.get("key")?, parameters.user()?) {
        (None, None, None) => of_all(&app, visitor, &parameters).await,
        // A key is of one task, whatever its queue.
        (None, Some(key), None) => Ok(Redirect::to(&life(key, None)).into_response()),
        (queue, ..) => found(&app, visitor, &parameters, queue).await,
    }
}

/// Where the life of a task is shown.
pub(super) fn life(key: &str, queue: Option<&str>) -> String {
    let queue = queue.map(|queue| ("queue", queue.to_owned()));
    address("/task", &[("key", key.to_owned())].into_iter().chain(queue).collect::<Vec<_>>())
}

async fn found(app: &App, visitor: Visitor, parameters: &Parameters, queue: Option<Queue>) -> Shown {
    let filter = TaskFilter {
        user: parameters.user()?,
        key: parameters.get("key")?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
    };
    let mut frame = Frame { is_live: queue.is_some(), ..app.frame("Tasks", visitor, filter.command(queue)) };
    let question = app.operations.waiting_tasks(queue, filter, ROWS);
    let (found, asked) = app.operations.ask(Source::CloudTasks, question).await;
    frame.sources.push(asked);
    let data = json!({
        "sources": frame.sources,
        "tasks": found.as_ref().map(|found| &found.tasks.items),
        "isCut": found.as_ref().map(|found| found.tasks.is_cut),
        "unfinished": found.as_ref().map(|found| &found.unfinished),
    });
    let page = TasksPage {
        frame: &frame,
        fields: Fields::of(parameters, queue)?,
        rows: &[],
        found: found.as_ref(),
        words: format!("{}{}", queue.map_or("any queue", Queue::name), filter.words()),
    };
    show(parameters, &data, &frame.nonce, &page)
}

async fn of_all(app: &App, visitor: Visitor, parameters: &Parameters) -> Shown {
    let overview = app.operations.overview().await;
    let mut frame = Frame { is_live: true, ..app.frame("Tasks", visitor, "queues") };
    frame.sources.clone_from(&overview.sources);
    let fields = Fields::of(parameters, None)?;
    let page = TasksPage { frame: &frame, fields, rows: &overview.queues, found: None, words: String::new() };
    show(parameters, &overview, &frame.nonce, &page)
}
