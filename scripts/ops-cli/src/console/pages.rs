//! The pages that show something; none changes anything.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect, Response};
use catchup::db::deliveries::{LedgerFilter, LedgerMessage, STATES};
use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::db::bulks::{StoredBulk, StoredMember};
use shared::db::dead_letters::{StoredDeadLetter, StoredFailure};
use shared::db::error_states::ErrorState;
use shared::db::errors::ErrorGroup;
use shared::db::operator_actions::StoredAction;
use shared::queue::Queue;
use uuid::Uuid;

use super::App;
use super::access::Visitor;
use super::bars::{Bars, Colour};
use super::page::{Frame, Nonce, cut, short, show};
use super::parameters::{Parameters, address, checked};
use super::refusal::Refusal;
use super::tasks;
use crate::dead_letters::run_as_json;
use crate::errors::{self as errors_command, MAX_COUNT};
use crate::operations::alerts::Alerts;
use crate::operations::cost::{Estimate, MonthCost};
use crate::operations::dead_letters::{Selection, summary};
use crate::operations::errors::{self, KnownError, KnownErrors, Question};
use crate::operations::last_hour::LastHour;
use crate::operations::numbers::Numbers;
use crate::operations::overview::{PublicService, Row};
use crate::operations::schedules::Scheduled;
use crate::operations::task::Tasks;
use crate::operations::tasks::WaitingTask;
use crate::operations::user::User;
use crate::operations::{Asked, Listed, Source, bulks};
use crate::table::known;
use crate::{explain, names, queues as queues_command};

/// Rows of a page: with their longest texts they stay within its budget of 50 KB.
const ROWS: u32 = 40;
/// Errors of a page, each with its bars.
const ERRORS: u32 = 22;
/// What of a body is shown, in bytes of the page; the command line shows all of it.
const BODY_BYTES: usize = 24 * 1024;

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

#[derive(Template)]
#[template(path = "console/now.html")]
struct NowPage<'a> {
    frame: &'a Frame,
    alerts: &'a Alerts,
    rows: &'a [Row],
    webhooks: &'a PublicService,
    unknown_messages: Option<usize>,
    last_hour: Option<LastHour>,
    cost: Option<(Option<MonthCost>, Asked)>,
}

pub(super) async fn now(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    if let Some(token) = parameters.get("token")? {
        let cookie =
            app.access.cookie_for(token).ok_or(Refusal::Forbidden("This is not the console's token."))?;
        return Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response());
    }
    let unknown = LedgerFilter { state: Some("unknown"), ..LedgerFilter::default() };
    let (overview, unknown) = tokio::join!(app.operations.overview(), app.operations.messages(&unknown, 1));
    let mut frame = Frame { is_live: true, ..app.frame("Now", visitor, "queues") };
    frame.sources.clone_from(&overview.sources);
    let unknown_messages = unknown.ok().map(|listed| listed.items.len());
    let last_hour = app.samples.last_hour();
    let cost = app.samples.cost();
    let data = json!({
        "sources": overview.sources,
        "alerts": overview.alerts,
        "queues": overview.queues,
        "webhooks": overview.webhooks,
        "lastHour": last_hour,
        "cost": cost.as_ref().map(|(cost, asked)| json!({ "source": asked, "month": cost })),
    });
    let (alerts, rows, webhooks) = (&overview.alerts, &overview.queues, &overview.webhooks);
    let page = NowPage { frame: &frame, alerts, rows, webhooks, unknown_messages, last_hour, cost };
    show(&parameters, &data, &frame.nonce, &page)
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl NowPage<'_> {
    fn alerts(&self) -> Vec<String> {
        self.alerts.lines(self.frame.now)
    }

    /// How long ago the bars were read.
    fn read(&self, hour: &LastHour) -> String {
        self.frame.distance(&hour.until())
    }

    fn requests(&self) -> String {
        queues_command::requests(self.webhooks)
    }

    fn measured(&self, row: &Row) -> [(&'static str, String); 3] {
        measured(row.numbers.as_ref())
    }

    fn measured_of_webhooks(&self) -> [(&'static str, String); 3] {
        measured(self.webhooks.numbers.as_ref())
    }

    /// Redis commands so far and per month, of those that are free.
    fn redis(&self, cost: &MonthCost) -> String {
        let Estimate { so_far, projected } = cost.redis_commands;
        let per_month = projected.map_or_else(String::new, |commands| {
            format!(", {commands:.0} per month: {:.0} % of what is free", commands * 100.0 / cost.budget.free)
        });
        format!("Redis commands: {so_far:.0} so far{per_month}.")
    }

    fn usd(&self, cost: &MonthCost) -> String {
        let Estimate { so_far, projected } = cost.total;
        let per_month = projected.map_or_else(String::new, |usd| format!(", {usd:.2} USD per month"));
        format!(
            "Cost of this month at list prices, with what is charged at rest: at most {so_far:.2} USD so far{per_month}."
        )
    }
}

/// Names and texts of three cells.
fn measured(numbers: Option<&Numbers>) -> [(&'static str, String); 3] {
    let at_most = |ms: fn(&Numbers) -> Option<f64>| known(queues_command::at_most(numbers.and_then(ms)));
    [
        ("success", known(queues_command::success(numbers))),
        ("p50", at_most(|numbers| numbers.p50_ms)),
        ("p95", at_most(|numbers| numbers.p95_ms)),
    ]
}

#[derive(Template)]
#[template(path = "console/queue.html")]
struct QueuePage<'a> {
    frame: &'a Frame,
    row: &'a Row,
    schedules: &'a [Scheduled],
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
    let queues = [queue];
    let ((row, sources), (schedules, _)) =
        tokio::join!(app.operations.row(queue), app.operations.schedules(&queues));
    let row = row.as_ref().ok_or_else(|| Refusal::NotFound("There is no such queue.".to_owned()))?;
    let verb = if row.state.as_deref() == Some("paused") { "resume" } else { "pause" };
    let command = format!("{verb} {}", queue.name());
    let mut frame = Frame { is_live: true, ..app.frame(queue.name(), visitor, command) };
    frame.sources = sources;
    let page = QueuePage {
        frame: &frame,
        row,
        schedules: &schedules,
        verb,
        hidden: vec![("action", verb.to_owned()), ("form", frame.visitor.form_token.clone())],
    };
    show(&parameters, row, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/errors.html")]
struct ErrorsPage<'a> {
    frame: &'a Frame,
    errors: Option<&'a KnownErrors>,
    since: DateTime<Utc>,
    all: String,
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
        queues::all().map(Queue::name).collect()
    }
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl ErrorsPage<'_> {
    /// Its dead letters.
    fn dead_letters(&self, group: &ErrorGroup) -> String {
        of_error("/dead-letters", group)
    }

    /// The preview of their replay.
    fn replay(&self, group: &ErrorGroup) -> String {
        format!("{}&action=replay", of_error("/dead-letters/change", group))
    }

    /// Where its state is changed.
    fn change(&self, group: &ErrorGroup) -> String {
        of_error("/errors/change", group)
    }

    fn words(&self, it: &KnownError) -> String {
        errors::words(it.state.as_ref())
    }

    fn has_regressed(&self, it: &KnownError) -> bool {
        it.state.as_ref().is_some_and(|state| state.has_regressed)
    }

    fn runs(&self, group: &ErrorGroup) -> String {
        errors_command::at_least(group, group.failures)
    }

    fn tasks(&self, group: &ErrorGroup) -> String {
        errors_command::at_least(group, group.tasks)
    }

    fn users(&self, group: &ErrorGroup) -> String {
        errors_command::at_least(group, group.users)
    }

    fn more_users(&self, group: &ErrorGroup) -> String {
        errors_command::more_users(group).unwrap_or_default()
    }

    /// The newest, by its name, and how many others.
    fn revisions(&self, group: &ErrorGroup) -> String {
        match &group.revisions[..] {
            [] => String::new(),
            [only] => only.clone(),
            [others @ .., newest] => format!("{newest} and {} more", others.len()),
        }
    }

    /// When it happened, in equal parts of the time that is shown.
    fn bars(&self, group: &ErrorGroup) -> Bars {
        let counts: Vec<_> = group.bars.iter().map(ToString::to_string).collect();
        let label =
            format!("failed runs in {} equal parts, oldest first: {}", counts.len(), counts.join(" "));
        let bar = |count: &i64| vec![(Colour::Bad, count.unsigned_abs())];
        Bars::of(label, 0, &group.bars.iter().map(bar).collect::<Vec<_>>())
    }
}

fn of_error(path: &str, group: &ErrorGroup) -> String {
    address(path, &[("queue", group.function.clone()), ("fingerprint", group.fingerprint.clone())])
}

pub(super) async fn errors(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let since = parameters.time("since")?;
    let all = parameters.has("all");
    let command = if all { "errors --all" } else { "errors" };
    let mut frame = Frame { is_live: true, ..app.frame("Errors", visitor, command) };
    let since = since.unwrap_or(frame.now - TimeDelta::days(1));
    let question = Question {
        queue: parameters.queue()?,
        reason: parameters.get("reason")?.map(str::to_owned),
        user: parameters.user()?,
        since,
        until: parameters.time("until")?,
        all,
    };
    let errors = app.ask(&mut frame, app.operations.errors(&question, ERRORS)).await;
    let data = json!({
        "sources": frame.sources,
        "errors": errors.as_ref().map(|known| &known.errors),
        "hidden": errors.as_ref().map(|known| &known.hidden),
    });
    let query = query.unwrap_or_default();
    let all = format!("/errors?{query}{}all", if query.is_empty() { "" } else { "&" });
    let page =
        ErrorsPage { frame: &frame, errors: errors.as_ref(), since, all, filters: Filters::of(&parameters)? };
    show(&parameters, &data, &frame.nonce, &page)
}

#[derive(Template)]
#[template(path = "console/error.html")]
struct ErrorPage<'a> {
    frame: &'a Frame,
    queue: &'static str,
    fingerprint: &'a str,
    state: Option<&'a ErrorState>,
    said: String,
    dead_letters: String,
    hidden: Vec<(&'static str, String)>,
    max_count: i64,
}

pub(super) async fn error(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let (queue, fingerprint) = error_of(&parameters)?;
    let state = app.operations.state_of_error(queue, fingerprint).await?;
    let command = format!("errors fixed {fingerprint} --queue {}", queue.name());
    let frame = app.frame("Error", visitor, command);
    let of_error = [("queue", queue.name().to_owned()), ("fingerprint", fingerprint.to_owned())];
    let mut hidden = vec![("form", frame.visitor.form_token.clone())];
    hidden.extend(of_error.clone());
    let page = ErrorPage {
        frame: &frame,
        queue: queue.name(),
        fingerprint,
        state: state.as_ref(),
        said: errors::words(state.as_ref()),
        dead_letters: address("/dead-letters", &of_error),
        hidden,
        max_count: MAX_COUNT,
    };
    show(&parameters, &json!({ "state": state }), &frame.nonce, &page)
}

/// Which error is meant.
pub(super) fn error_of(parameters: &Parameters) -> Result<(Queue, &str), Refusal> {
    let (queue, fingerprint) = (parameters.queue()?, parameters.get("fingerprint")?);
    queue.zip(fingerprint).ok_or_else(|| Refusal::BadRequest("Which error, of which queue?".to_owned()))
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
    // Personal data.
    let body = if frame.visitor.sees_bodies {
        let begin = &it.body[..it.body.len().min(BODY_BYTES)];
        cut(&String::from_utf8_lossy(begin), BODY_BYTES)
    } else {
        String::new()
    };
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

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl UserPage<'_> {
    fn life(&self, task: &WaitingTask) -> String {
        tasks::life(task.key_or_name(), Some(task.queue))
    }
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
