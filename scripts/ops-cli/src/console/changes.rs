//! What the forms of the pages change; each change is recorded before it is made.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::{Value, json};
use shared::db::dead_letters::StoredDeadLetter;
use shared::db::operator_actions::{Action, Pace, Via};
use uuid::Uuid;

use super::App;
use super::access::{Posted, Visitor};
use super::page::{Frame, show};
use super::pages::{Shown, bulk_id, error_of};
use super::parameters::{Parameters, checked};
use super::refusal::Refusal;
use crate::errors::MAX_COUNT;
use crate::operations::actions::Request;
use crate::operations::bulks::{self, DEFAULT_RATE, MAX_MEMBERS, MAX_RATE};
use crate::operations::dead_letters::{Selection, summary};
use crate::operations::errors::ErrorChange;
use crate::operations::holds::{Change, Outcome};
use crate::{explain, names};

/// Dead letters that the preview shows.
const SAMPLE: u32 = 10;

/// What is to be done with which dead letters.
struct Wanted {
    action: Action,
    ids: Vec<String>,
    selection: Selection,
}

impl Wanted {
    fn of(parameters: &Parameters) -> Result<Self, Refusal> {
        let action = match parameters.get("action")? {
            Some("replay") => Action::Replay,
            Some("discard") => Action::Discard,
            _ => return Err(Refusal::BadRequest("Replay, or discard?".to_owned())),
        };
        let ids: Vec<_> = parameters.all("id")?.into_iter().map(str::to_owned).collect();
        if ids.iter().any(|id| !explain::is_dead_letter_id(id)) {
            return Err(Refusal::BadRequest("The id of a dead letter has 64 hexadecimal digits.".to_owned()));
        }
        Ok(Self { action, ids, selection: parameters.selection()? })
    }

    fn verb(&self) -> &'static str {
        self.action.into()
    }

    /// The command that does the same.
    fn command(&self) -> String {
        let verb = self.verb();
        if !self.ids.is_empty() {
            return format!("dead-letters {verb} {}", self.ids.join(" "));
        }
        self.selection.command(verb)
    }

    /// As it is recorded.
    fn filter(&self) -> Value {
        if self.ids.is_empty() { self.selection.as_json() } else { json!({ "ids": self.ids }) }
    }

    /// Ids, oldest first.
    async fn found(&self, app: &App) -> anyhow::Result<Vec<String>> {
        if self.ids.is_empty() {
            return app.operations.dead_letter_ids(&self.selection, MAX_MEMBERS).await;
        }
        Ok(self.ids.clone())
    }
}

#[derive(Template)]
#[template(path = "console/change.html")]
struct PreviewPage<'a> {
    frame: &'a Frame,
    verb: &'static str,
    shown: &'a [StoredDeadLetter],
    count: usize,
    /// Of the whole selection, of which only so many are meant.
    all: i64,
    is_cut: bool,
    hidden: Vec<(&'static str, String)>,
    rate: i32,
    max_rate: i32,
}

/// How many dead letters would be changed, and some of them. The form that does it means those that had died by now.
pub(super) async fn preview(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let parameters = Parameters::of_query(query.as_deref());
    let mut wanted = Wanted::of(&parameters)?;
    let now = app.operations.clock.now();
    if wanted.ids.is_empty() {
        wanted.selection.until = Some(wanted.selection.until.unwrap_or(now));
    }
    let all = match wanted.ids.len() {
        0 => app.operations.count_dead_letters(&wanted.selection).await?,
        ids => i64::try_from(ids).unwrap_or(i64::MAX),
    };
    let count = usize::try_from(all.min(i64::from(MAX_MEMBERS))).unwrap_or_default();
    let mut shown = Vec::new();
    if wanted.ids.is_empty() {
        shown = app.operations.dead_letters(&wanted.selection, SAMPLE).await?.items;
    }
    for id in wanted.ids.iter().take(SAMPLE as usize) {
        shown.extend(app.operations.find_dead_letter(id).await?);
    }
    let frame = app.frame("Dead letters", visitor, wanted.command());
    let mut hidden = vec![("action", wanted.verb().to_owned()), ("form", frame.visitor.form_token.clone())];
    // Sent again by a browser that reloads, it is the same bulk.
    hidden.push(("bulk", Uuid::new_v4().to_string()));
    hidden.extend(wanted.ids.iter().map(|id| ("id", id.clone())));
    hidden.extend(wanted.selection.conditions());
    let page = PreviewPage {
        frame: &frame,
        verb: wanted.verb(),
        shown: &shown,
        count,
        all,
        is_cut: all > i64::from(MAX_MEMBERS),
        hidden,
        rate: DEFAULT_RATE,
        max_rate: MAX_RATE,
    };
    let sample: Value = shown.iter().map(summary).collect();
    show(&parameters, &json!({ "count": count, "all": all, "sample": sample }), &frame.nonce, &page)
}

/// As the record of actions has it.
pub(super) fn request(form: &Parameters) -> Result<Request<'_>, Refusal> {
    let via = form.sender.as_deref().map_or(Via::Console, Via::ConsoleOf);
    Ok(Request { via, why: form.get("why")?.unwrap_or_default() })
}

/// Begins the replay or discard of dead letters, which this process runs.
pub(super) async fn dead_letters(State(app): State<App>, Posted(form): Posted) -> Shown {
    let wanted = Wanted::of(&form)?;
    let id = form.get("bulk")?.and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| Refusal::BadRequest("Which bulk?".to_owned()))?;
    let rate = form.get("rate")?.map_or(Ok(DEFAULT_RATE), str::parse);
    let rate = rate.ok().filter(|rate| (1..=MAX_RATE).contains(rate));
    let rate = rate.ok_or_else(|| Refusal::BadRequest(format!("A rate is 1 to {MAX_RATE}.")))?;
    let change = bulks::Change {
        action: wanted.action,
        ids: wanted.found(&app).await?,
        filter: wanted.filter(),
        pace: Pace { rate, again: false },
    };
    app.operations.begin_bulk(id, change, request(&form)?).await?;
    Ok(run(&app, id, None))
}

/// Cancels or continues a bulk.
pub(super) async fn bulk(State(app): State<App>, Path(id): Path<String>, Posted(form): Posted) -> Shown {
    let id = bulk_id(&id)?;
    app.operations.bulk(id).await?;
    match form.get("action")? {
        Some("cancel") => {
            app.operations.cancel_bulk(id, request(&form)?).await?;
            Ok(Redirect::to(&format!("/bulks/{id}")).into_response())
        }
        Some("resume") => {
            let action = app.operations.continue_bulk(id, request(&form)?).await?;
            Ok(run(&app, id, action))
        }
        _ => Err(Refusal::BadRequest("Cancel, or resume?".to_owned())),
    }
}

/// Runs a bulk while its page is shown, and ends the action that continues it. If this process ends, the bulk stands still until it is
/// continued.
fn run(app: &App, id: Uuid, action: Option<Uuid>) -> Response {
    let operations = app.operations.clone();
    tokio::spawn(async move {
        let ran = async {
            operations.run_bulk(id, |_| {}).await?;
            match action {
                Some(action) => operations.end(action, 1).await,
                None => Ok(()),
            }
        };
        if let Err(error) = ran.await {
            eprintln!("console: {error:#}");
        }
    });
    Redirect::to(&format!("/bulks/{id}")).into_response()
}

/// Pauses or resumes a queue.
pub(super) async fn hold(State(app): State<App>, Path(name): Path<String>, Posted(form): Posted) -> Shown {
    let queue = names::queue(checked(&name)?).map_err(|error| Refusal::NotFound(error.to_string()))?;
    let action = match form.get("action")? {
        Some("pause") => Action::Pause,
        Some("resume") => Action::Resume,
        _ => return Err(Refusal::BadRequest("Pause, or resume?".to_owned())),
    };
    let request = request(&form)?;
    let change = Change { queues: &[queue], is_of_all: false, action, dry_run: false };
    let mut failed = None;
    let report = |_, outcome| {
        if let Outcome::Failed(error) = outcome {
            failed = Some(error);
        }
    };
    app.operations.change_holds(&change, request, report).await?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Redirect::to(&format!("/queues/{}", queue.name())).into_response()),
    }
}

/// Records what is said of an error.
pub(super) async fn error(State(app): State<App>, Posted(form): Posted) -> Shown {
    let (queue, fingerprint) = error_of(&form)?;
    let change = match form.get("action")? {
        Some("fixed") => ErrorChange::Fixed { revision: form.get("revision")?.map(str::to_owned) },
        Some("ignore") => {
            let count = form.get("until-count")?.and_then(|count| count.parse().ok());
            let count = count.filter(|count| (1..=MAX_COUNT).contains(&i64::from(*count)));
            let bad = || Refusal::BadRequest(format!("A count is 1 to {MAX_COUNT}."));
            ErrorChange::Ignored { until_count: count.ok_or_else(bad)? }
        }
        Some("reopen") => ErrorChange::Open,
        _ => return Err(Refusal::BadRequest("Fixed, ignore, or reopen?".to_owned())),
    };
    app.operations.change_error(queue, fingerprint, &change, request(&form)?).await?;
    Ok(Redirect::to("/errors").into_response())
}

/// Releases the lease of a task.
pub(super) async fn release(State(app): State<App>, Posted(form): Posted) -> Shown {
    let key = form.get("key")?.ok_or_else(|| Refusal::BadRequest("Which key?".to_owned()))?;
    let tasks = app.operations.tasks_of_key(key, form.queue()?).await?;
    let run = form.get("run")?.unwrap_or_default();
    let held = tasks.tasks.iter().find(|task| task.held_by.is_some_and(|held| held.to_string() == run));
    let task =
        held.ok_or_else(|| Refusal::BadRequest("That run has no lease of this task any more.".to_owned()))?;
    let request = request(&form)?;
    app.operations.release(task, request).await?;
    Ok(Redirect::to("/actions").into_response())
}
