//! The schedules: when each is due, what became of its last sweeps, and what an operator does with it.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Redirect};
use catchup::queues;
use serde_json::json;
use shared::db::sweeps::PastSweep;
use shared::queue::{Queue, Schedule};

use super::App;
use super::access::{Posted, Visitor};
use super::bars::{Bars, Colour};
use super::changes::request;
use super::page::{Frame, show};
use super::pages::Shown;
use super::parameters::{Parameters, checked};
use super::refusal::Refusal;
use crate::operations::Source;
use crate::operations::schedules::{
    Changed, Period, PeriodState, Scheduled, State as JobState, Verb, cloud_name,
};
use crate::{names, sweeps};

/// A period of which all is known.
const FULL: u64 = 4;

type States = BTreeMap<String, JobState>;

#[derive(Template)]
#[template(path = "console/schedules.html")]
struct SchedulesPage<'a> {
    frame: &'a Frame,
    schedules: &'a [Scheduled],
    states: Option<&'a States>,
}

impl SchedulesPage<'_> {
    fn state(&self, it: &Scheduled) -> String {
        state(self.states, it)
    }

    #[expect(clippy::unused_self, reason = "a template calls methods")]
    fn bars(&self, it: &Scheduled) -> Bars {
        bars(it)
    }
}

/// What Cloud Scheduler says; on a machine without it a schedule has no state.
fn state(states: Option<&States>, it: &Scheduled) -> String {
    let Some(states) = states else { return String::new() };
    states.get(&it.cloud_name).map_or_else(|| "missing".to_owned(), JobState::to_string)
}

fn bars(it: &Scheduled) -> Bars {
    let count = |state| it.periods.iter().filter(|period| period.state == state).count();
    let label = format!(
        "The last {} periods: {} missed, {} unfinished, {} with failures, {} before the first record",
        it.periods.len(),
        it.missed(),
        count(PeriodState::Unfinished),
        it.periods.iter().filter(|period| period.failed > 0).count(),
        count(PeriodState::Unrecorded),
    );
    Bars::of(label, FULL, &it.periods.iter().map(parts).collect::<Vec<_>>())
}

/// Of [`FULL`].
fn parts(period: &Period) -> Vec<(Colour, u64)> {
    match period.state {
        PeriodState::Unrecorded => Vec::new(),
        PeriodState::Missed => vec![(Colour::Bad, 1)],
        PeriodState::Awaited => vec![(Colour::Soft, 1)],
        PeriodState::Unfinished => vec![(Colour::Soft, FULL)],
        PeriodState::Finished if period.failed > 0 => vec![(Colour::Ok, FULL / 2), (Colour::Bad, FULL / 2)],
        PeriodState::Finished => vec![(Colour::Ok, FULL)],
    }
}

pub(super) async fn list(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let mut frame = Frame { is_live: true, ..app.frame("Schedules", visitor, "schedule list") };
    let (schedules, states) = found(&app, &mut frame, &queues::all().collect::<Vec<_>>()).await;
    let page = SchedulesPage { frame: &frame, schedules: &schedules, states: states.as_ref() };
    let data = json!({ "sources": frame.sources, "schedules": schedules, "states": states });
    show(&Parameters::of_query(query.as_deref()), &data, &frame.nonce, &page)
}

async fn found(app: &App, frame: &mut Frame, queues: &[Queue]) -> (Vec<Scheduled>, Option<States>) {
    let ((schedules, postgres), (states, asked)) = tokio::join!(
        app.operations.schedules(queues),
        app.operations.ask(Source::CloudScheduler, app.operations.schedule_states()),
    );
    frame.sources.push(postgres);
    let states = states.flatten();
    // A machine without Cloud Scheduler has nothing to say about it.
    if states.is_some() || asked.problem.is_some() {
        frame.sources.push(asked);
    }
    (schedules, states)
}

#[derive(Template)]
#[template(path = "console/schedule.html")]
struct SchedulePage<'a> {
    frame: &'a Frame,
    it: &'a Scheduled,
    state: String,
    bars: Bars,
    /// What can be done with it.
    verbs: &'static [&'static str],
}

#[expect(clippy::unused_self, reason = "a template calls methods")]
impl SchedulePage<'_> {
    fn results(&self, sweep: &PastSweep) -> Option<String> {
        sweeps::results(sweep)
    }
}

pub(super) async fn one(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Shown {
    let (queue, schedule) = named(&name)?;
    let name = cloud_name(queue, schedule);
    let mut frame = Frame { is_live: true, ..app.frame(&name, visitor, format!("schedule run {name}")) };
    let (schedules, states) = found(&app, &mut frame, &[queue]).await;
    let parameters = Parameters::of_query(query.as_deref());
    let it = schedules.iter().find(|it| it.cloud_name == name);
    let data = json!({ "sources": frame.sources, "schedule": it, "states": states });
    let it = it.ok_or_else(|| Refusal::NotFound("There is no such schedule.".to_owned()))?;
    let verbs: &[&str] = match states.as_ref().and_then(|states| states.get(&name)) {
        Some(JobState::Paused) => &["run", "resume"],
        Some(JobState::Enabled | JobState::Other) => &["run", "pause"],
        None => &["run"],
    };
    let page = SchedulePage { frame: &frame, it, state: state(states.as_ref(), it), bars: bars(it), verbs };
    show(&parameters, &data, &frame.nonce, &page)
}

/// Lets a schedule create its task now, pauses or resumes it.
pub(super) async fn change(State(app): State<App>, Path(name): Path<String>, Posted(form): Posted) -> Shown {
    let (queue, schedule) = named(&name)?;
    let verb = match form.get("action")? {
        Some("run") => Verb::Run,
        Some("pause") => Verb::Pause,
        Some("resume") => Verb::Resume,
        _ => return Err(Refusal::BadRequest("Run, pause, or resume?".to_owned())),
    };
    let request = request(&form)?;
    match app.operations.change_schedule(queue, schedule, verb, request).await? {
        Changed::Done | Changed::Unchanged(_) => {
            Ok(Redirect::to(&format!("/schedules/{}", cloud_name(queue, schedule))).into_response())
        }
        Changed::Created { .. } => {
            Ok(Redirect::to(&format!("/tasks?queue={}", queue.name())).into_response())
        }
    }
}

fn named(name: &str) -> Result<(Queue, &'static Schedule), Refusal> {
    names::schedule(checked(name)?).map_err(|error| Refusal::NotFound(error.to_string()))
}
