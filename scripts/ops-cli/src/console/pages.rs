//! The pages that show something; none changes anything.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use catchup::db::deliveries::{LedgerFilter, LedgerMessage, STATES};
use catchup::queues;
use chrono::TimeDelta;
use serde_json::{Value, json};
use shared::db::bulks::{StoredBulk, StoredMember};
use shared::db::dead_letters::{StoredDeadLetter, StoredFailure};
use shared::db::errors::ErrorGroup;
use shared::db::operator_actions::StoredAction;
use uuid::Uuid;

use super::App;
use super::access::Visitor;
use super::page::{Frame, Nonce, show};
use super::parameters::{Parameters, address, checked};
use super::refusal::Refusal;
use super::samples::LastHour;
use crate::dead_letters::run_as_json;
use crate::operations::bulks;
use crate::operations::dead_letters::{Selection, summary};
use crate::operations::errors::Question;
use crate::operations::overview::Row;
use crate::operations::schedules::Scheduled;
use crate::operations::task::Tasks;
use crate::operations::user::User;
use crate::operations::{Listed, Source};
use crate::{explain, names, queues as queues_command};

/// Rows of a page: with their longest texts they stay within its budget of 50 KB.
const ROWS: u32 = 40;
/// What of a text is shown in a row.
const TEXT_CHARS: usize = 200;
/// What of a body is shown; the command line shows all of it.
const BODY_BYTES: usize = 16 * 1024;

pub(super) type Shown = Result<Response, Refusal>;

impl App {
    pub(super) fn frame(
        &self,
        title: impl Into<String>,
        visitor: Visitor,
        command: impl Into<String>,
    ) -> Frame {
        Frame {
            nonce: Nonce::new(),
            title: title.into(),
            visitor,
            now: self.operations.clock.now(),
            sources: Vec::new(),
            command: command.into(),
            is_live: false,
        }
    }

    /// What Postgres says; if it says nothing, the frame does.
    async fn ask<T>(
        &self,
        frame: &mut Frame,
        question: impl Future<Output = anyhow::Result<T>>,
    ) -> Option<T> {
        let (answer, asked) = self.operations.ask(Source::Postgres, question).await;
        frame.sources.push(asked);
        answer
    }
}

/// As much of a text as a row has place for.
fn short(text: &str) -> String {
    shared::db::shortened(text, TEXT_CHARS)
}

#[derive(Template)]
#[template(path = "console/now.html")]
struct NowPage<'a> {
    frame: &'a Frame,
    rows: &'a [Row],
    unknown_messages: Option<usize>,
    last_hour: Option<LastHour>,
}

pub(super) async fn now(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    if let Some(token) = parameters.get("token")? {
        let cookie =
            app.access.cookie_for(token).ok_or(Refusal::Forbidden("This is not the console's token."))?;
        return Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response());
    }
    let unknown = LedgerFilter { state: Some("unknown"), ..LedgerFilter::default() };
    let (overview, unknown) =
        tokio::join!(app.operations.overview(), app.operations.messages(&unknown, ROWS));
    let mut frame = Frame { is_live: true, ..app.frame("Now", visitor, "queues") };
    frame.sources.clone_from(&overview.sources);
    let unknown_messages = unknown.ok().map(|listed| listed.items.len());
    let last_hour = app.samples.last_hour();
    let data = json!({ "sources": overview.sources, "queues": overview.queues, "lastHour": last_hour });
    let page = NowPage { frame: &frame, rows: &overview.queues, unknown_messages, last_hour };
    show(&parameters, &data, &frame.nonce, &page)
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl NowPage<'_> {
    fn success(&self, row: &Row) -> String {
        queues_command::success(row).unwrap_or_else(|| "?".to_owned())
    }

    fn p50(&self, row: &Row) -> String {
        at_most(row.numbers.as_ref().and_then(|numbers| numbers.p50_ms))
    }

    fn p95(&self, row: &Row) -> String {
        at_most(row.numbers.as_ref().and_then(|numbers| numbers.p95_ms))
    }
}

fn at_most(ms: Option<f64>) -> String {
    queues_command::at_most(ms).unwrap_or_else(|| "?".to_owned())
}

#[derive(Template)]
#[template(path = "console/queue.html")]
struct QueuePage<'a> {
    frame: &'a Frame,
    row: &'a Row,
    schedules: Vec<&'a Scheduled>,
    verb: &'static str,
    hidden: Vec<(&'static str, String)>,
}

pub(super) async fn queue(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Shown {
    let queue = names::queue(checked(&name)?).map_err(|error| Refusal::NotFound(error.to_string()))?;
    let parameters = Parameters::of_query(query.as_deref());
    let (overview, (schedules, _)) = tokio::join!(app.operations.overview(), app.operations.schedules());
    let row = overview.queues.iter().find(|row| row.queue == queue.name());
    let row = row.ok_or_else(|| Refusal::NotFound("There is no such queue.".to_owned()))?;
    let verb = if row.state.as_deref() == Some("paused") { "resume" } else { "pause" };
    let command = format!("{verb} {}", queue.name());
    let mut frame = Frame { is_live: true, ..app.frame(queue.name(), visitor, command) };
    frame.sources.clone_from(&overview.sources);
    let page = QueuePage {
        frame: &frame,
        row,
        schedules: schedules.iter().filter(|it| it.queue == queue.name()).collect(),
        verb,
        hidden: vec![("action", verb.to_owned()), ("form", frame.visitor.form_token.clone())],
    };
    show(&parameters, row, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/errors.html")]
struct ErrorsPage<'a> {
    frame: &'a Frame,
    errors: Option<&'a Listed<ErrorGroup>>,
    filters: Filters,
}

/// What a list is narrowed by, as it is shown in its form.
#[derive(Default)]
struct Filters {
    queue: String,
    reason: String,
    user: String,
    since: String,
}

impl Filters {
    fn of(parameters: &Parameters) -> Result<Self, Refusal> {
        let get = |name| parameters.get(name).map(|value| value.unwrap_or_default().to_owned());
        Ok(Self { queue: get("queue")?, reason: get("reason")?, user: get("user")?, since: get("since")? })
    }

    #[expect(clippy::unused_self, reason = "a template calls methods")]
    fn queues(&self) -> Vec<&'static str> {
        queues::all().map(shared::queue::Queue::name).collect()
    }
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl ErrorsPage<'_> {
    /// Its dead letters.
    fn dead_letters(&self, group: &ErrorGroup) -> String {
        let parameters = [("queue", group.function.clone()), ("fingerprint", group.fingerprint.clone())];
        address("/dead-letters", &parameters)
    }

    fn short(&self, text: &str) -> String {
        short(text)
    }
}

pub(super) async fn errors(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let since = parameters.time("since")?;
    let mut frame = Frame { is_live: true, ..app.frame("Errors", visitor, "errors") };
    let question = Question {
        queue: parameters.queue()?,
        reason: parameters.get("reason")?.map(str::to_owned),
        user: parameters.user()?,
        since: Some(since.unwrap_or(frame.now - TimeDelta::days(1))),
        until: parameters.time("until")?,
    };
    let errors = app.ask(&mut frame, app.operations.errors(&question, ROWS)).await;
    let data = json!({ "sources": frame.sources, "errors": errors });
    let page = ErrorsPage { frame: &frame, errors: errors.as_ref(), filters: Filters::of(&parameters)? };
    show(&parameters, &data, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/dead-letters.html")]
struct DeadLettersPage<'a> {
    frame: &'a Frame,
    dead_letters: Option<&'a Listed<StoredDeadLetter>>,
    count: Option<i64>,
    words: String,
    hidden: Vec<(&'static str, String)>,
    filters: Filters,
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl DeadLettersPage<'_> {
    fn short(&self, text: &str) -> String {
        short(text)
    }
}

pub(super) async fn dead_letters(
    State(app): State<App>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let selection = parameters.selection()?;
    let mut frame = Frame { is_live: true, ..app.frame("Dead letters", visitor, selection.command("list")) };
    let found = app.ask(&mut frame, found(&app, &selection)).await;
    let (dead_letters, count) = found.unzip();
    let summaries = dead_letters.as_ref().map(|it| it.items.iter().map(summary).collect::<Value>());
    let data = json!({ "sources": frame.sources, "count": count, "deadLetters": summaries });
    let page = DeadLettersPage {
        frame: &frame,
        dead_letters: dead_letters.as_ref(),
        count,
        words: selection.words(),
        hidden: selection.conditions(),
        filters: Filters::of(&parameters)?,
    };
    show(&parameters, &data, &frame.nonce, &page)
}

async fn found(app: &App, selection: &Selection) -> anyhow::Result<(Listed<StoredDeadLetter>, i64)> {
    let dead_letters = app.operations.dead_letters(selection, ROWS).await?;
    Ok((dead_letters, app.operations.count_dead_letters(selection).await?))
}

#[derive(Template)]
#[template(path = "console/dead-letter.html")]
struct DeadLetterPage<'a> {
    frame: &'a Frame,
    it: &'a StoredDeadLetter,
    runs: &'a [StoredFailure],
    task: String,
    body: String,
}

pub(super) async fn dead_letter(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Shown {
    if !explain::is_dead_letter_id(&id) {
        return Err(Refusal::NotFound("The id of a dead letter has 64 hexadecimal digits.".to_owned()));
    }
    let it = app.operations.find_dead_letter(&id).await?;
    let it = it.ok_or_else(|| Refusal::NotFound("There is no such dead letter.".to_owned()))?;
    let runs = app.operations.failures_of(&it).await?;
    let parameters = Parameters::of_query(query.as_deref());
    let frame = app.frame("Dead letter", visitor, format!("dead-letters show {id}"));
    let mut data = summary(&it);
    data["runs"] = runs.iter().map(run_as_json).collect();
    // Personal data: only for who has the token.
    let body = &it.body[..it.body.len().min(BODY_BYTES)];
    let body =
        if frame.visitor.may_operate { String::from_utf8_lossy(body).into_owned() } else { String::new() };
    let parameters_of_task = [("key", it.key.clone()), ("queue", it.function.clone())];
    let page = DeadLetterPage {
        frame: &frame,
        it: &it,
        runs: &runs,
        task: address("/task", &parameters_of_task),
        body,
    };
    show(&parameters, &data, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/task.html")]
struct TaskPage<'a> {
    frame: &'a Frame,
    key: &'a str,
    tasks: &'a Tasks,
    unknown: String,
}

pub(super) async fn task(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let key = parameters.get("key")?.ok_or_else(|| Refusal::BadRequest("Which key?".to_owned()))?;
    let tasks = app.operations.tasks_of_key(key, parameters.queue()?).await?;
    let mut frame = Frame { is_live: true, ..app.frame("Task", visitor, format!("explain {key}")) };
    frame.sources.clone_from(&tasks.sources);
    let page = TaskPage { frame: &frame, key, tasks: &tasks, unknown: explain::unknown(&tasks, key) };
    show(&parameters, &tasks, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/user.html")]
struct UserPage<'a> {
    frame: &'a Frame,
    user: &'a User,
}

pub(super) async fn user(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Shown {
    let id: Uuid = id.parse().map_err(|_| Refusal::NotFound("A user's id is a UUID.".to_owned()))?;
    let user = app.operations.user(id).await;
    let mut frame = app.frame("User", visitor, format!("user {id}"));
    frame.sources.clone_from(&user.sources);
    let page = UserPage { frame: &frame, user: &user };
    show(&Parameters::of_query(query.as_deref()), &user, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/messages.html")]
struct MessagesPage<'a> {
    frame: &'a Frame,
    messages: Option<&'a Listed<LedgerMessage>>,
    user: String,
    state: String,
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl MessagesPage<'_> {
    fn states(&self) -> [&'static str; 7] {
        STATES
    }
}

pub(super) async fn messages(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let (user, state) = (parameters.user()?, parameters.get("state")?);
    let mut frame = Frame { is_live: true, ..app.frame("Messages", visitor, "messages list") };
    let filter = LedgerFilter { user_id: user, state, ..LedgerFilter::default() };
    let messages = app.ask(&mut frame, app.operations.messages(&filter, ROWS)).await;
    let page = MessagesPage {
        frame: &frame,
        messages: messages.as_ref(),
        user: user.map(|user| user.to_string()).unwrap_or_default(),
        state: state.unwrap_or_default().to_owned(),
    };
    show(&parameters, &json!({ "sources": frame.sources, "messages": messages }), &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/actions.html")]
struct ActionsPage<'a> {
    frame: &'a Frame,
    actions: Option<&'a Listed<StoredAction>>,
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl ActionsPage<'_> {
    fn filter(&self, it: &StoredAction) -> String {
        short(&it.filter.to_string())
    }
}

pub(super) async fn actions(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let mut frame = Frame { is_live: true, ..app.frame("Actions", visitor, "actions") };
    let actions = app.ask(&mut frame, app.operations.actions(ROWS)).await;
    let page = ActionsPage { frame: &frame, actions: actions.as_ref() };
    let data = json!({ "sources": frame.sources, "actions": actions });
    show(&Parameters::of_query(query.as_deref()), &data, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/bulk.html")]
struct BulkPage<'a> {
    frame: &'a Frame,
    it: &'a StoredBulk,
    state: &'static str,
    summary: String,
    members: &'a Listed<StoredMember>,
}

impl BulkPage<'_> {
    fn filter(&self) -> String {
        short(&self.it.filter.to_string())
    }
}

pub(super) async fn bulk(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Shown {
    let id = bulk_id(&id)?;
    let it = app.operations.find_bulk(id).await?;
    let it = it.ok_or_else(|| Refusal::NotFound("There is no such replay or discard.".to_owned()))?;
    let members = app.operations.members(id, ROWS).await?;
    let command = if it.ended_at.is_some() { "bulks" } else { "resume" };
    let frame = app.frame("Bulk", visitor, format!("dead-letters {command} {id}"));
    let frame = Frame { is_live: it.ended_at.is_none(), ..frame };
    let (state, summary) = (bulks::state(&it), bulks::summary(&it));
    let page = BulkPage { frame: &frame, it: &it, state, summary, members: &members };
    let data = json!({ "bulk": it, "members": members.items, "isCut": members.is_cut });
    show(&Parameters::of_query(query.as_deref()), &data, &frame.nonce, &page)
}

pub(super) fn bulk_id(id: &str) -> Result<Uuid, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound("The id of a replay or discard is a UUID.".to_owned()))
}
