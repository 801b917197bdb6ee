//! Cloud Scheduler: jobs that are created, paused, resumed and run by hand; nothing runs by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::rest::{Answer, Refusal};

const TIMEOUT: Duration = Duration::from_secs(30);
const CLOUD_TASKS: &str = "https://cloudtasks.googleapis.com";

/// All jobs.
#[derive(Debug)]
pub(crate) struct Scheduler {
    tasks_url: String,
    http: reqwest::Client,
    jobs: Mutex<BTreeMap<String, Value>>,
}

impl Scheduler {
    pub(crate) fn new(tasks_url: String) -> Self {
        Self { tasks_url, http: shared::http::client(TIMEOUT, TIMEOUT), jobs: Mutex::default() }
    }

    fn find(&self, name: &str) -> Result<Value, Refusal> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(name).cloned().ok_or_else(|| Refusal::NotFound("Job not found.".to_owned()))
    }

    /// A job is only paused while it is enabled, and resumed while it is paused.
    fn change(&self, name: &str, from: &str, to: &str) -> Answer {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.get_mut(name).ok_or_else(|| Refusal::NotFound("Job not found.".to_owned()))?;
        if job["state"] != from {
            return Err(Refusal::Invalid(format!("Job is not {from}.")));
        }
        job["state"] = to.into();
        Ok(Json(job.clone()))
    }
}

pub(crate) async fn list(State(scheduler): State<Arc<Scheduler>>) -> Answer {
    let jobs = scheduler.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Json(json!({ "jobs": jobs.values().collect::<Vec<_>>() })))
}

pub(crate) async fn create(State(scheduler): State<Arc<Scheduler>>, Json(mut job): Json<Value>) -> Answer {
    let name = job["name"].as_str().unwrap_or_default();
    let (_, name) =
        name.rsplit_once('/').ok_or_else(|| Refusal::Invalid("the job has no name".to_owned()))?;
    let name = name.to_owned();
    job["state"] = "ENABLED".into();
    let mut jobs = scheduler.jobs.lock().unwrap_or_else(PoisonError::into_inner);
    if jobs.contains_key(&name) {
        return Err(Refusal::Exists("Job already exists.".to_owned()));
    }
    jobs.insert(name, job.clone());
    Ok(Json(job))
}

pub(crate) async fn job(
    State(scheduler): State<Arc<Scheduler>>,
    Path((_, _, job)): Path<(String, String, String)>,
) -> Answer {
    scheduler.find(&job).map(Json)
}

/// `…/jobs/NAME:run`, `:pause` and `:resume`.
pub(crate) async fn call(
    State(scheduler): State<Arc<Scheduler>>,
    Path((_, _, call)): Path<(String, String, String)>,
) -> Answer {
    match call.split_once(':') {
        Some((name, "run")) => run(&scheduler, name).await,
        Some((name, "pause")) => scheduler.change(name, "ENABLED", "PAUSED"),
        Some((name, "resume")) => scheduler.change(name, "PAUSED", "ENABLED"),
        _ => Err(Refusal::NotFound("no such call".to_owned())),
    }
}

/// Calls the job's target, with the local Cloud Tasks in Google's place.
async fn run(scheduler: &Scheduler, name: &str) -> Answer {
    let job = scheduler.find(name)?;
    let target = &job["httpTarget"];
    let path = target["uri"].as_str().and_then(|uri| uri.strip_prefix(CLOUD_TASKS));
    let path = path.ok_or_else(|| Refusal::Invalid("the stand-in calls only Cloud Tasks".to_owned()))?;
    let body = STANDARD.decode(target["body"].as_str().unwrap_or_default());
    let body = body.map_err(|_| Refusal::Invalid("the body is no base64".to_owned()))?;
    let call = scheduler.http.post(format!("{}{path}", scheduler.tasks_url));
    let answer = call.header("content-type", "application/json").body(body).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(Json(job)),
        Ok(answer) => Err(Refusal::Invalid(format!("Cloud Tasks answered {}", answer.status()))),
        Err(error) => Err(Refusal::Invalid(error.without_url().to_string())),
    }
}
