//! One row while it is played: a function of its own, and what is seen of it.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::clock::Clock;
use tokio::time::sleep;
use uuid::Uuid;

use super::lane::{Lane, QUEUE};
use super::{Amount, Ending, Seen, Shown};
use crate::acting::{Act, Script};
use crate::{Answer, Delivery, Instances};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);
/// A successor is created for a time that is rounded to milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);
/// Cloud Tasks dispatches again after a while; how long that is changes nothing.
const BEFORE_DISPATCHED_AGAIN: Duration = Duration::from_millis(50);
/// No row takes more.
const MAX_DISPATCHES: usize = 40;
const DAY: Duration = Duration::from_hours(24);

/// A row while it is played.
pub(super) struct Stage<'a> {
    pub(super) lane: &'a Lane,
    pub(super) function: Instances,
    seen: Vec<Seen>,
    /// Dispatches that were not made, because each would have been like the one before.
    passed_over: u32,
    tasks: u32,
    others_commands: u64,
    a_day: Option<(u64, u64)>,
}

/// Who dispatches.
#[derive(Clone)]
pub(super) struct Dispatcher {
    http: reqwest::Client,
    address: SocketAddr,
    token: String,
}

impl<'a> Stage<'a> {
    pub(super) async fn set(lane: &'a Lane, other: Vec<(&'static str, String)>) -> Self {
        lane.clear().await;
        let environment = lane.environment().into_iter().chain(other);
        let function = Instances::start(&lane.stack, 1, environment).await;
        Self { lane, function, seen: Vec::new(), passed_over: 0, tasks: 1, others_commands: 0, a_day: None }
    }

    pub(super) fn dispatcher(&self) -> Dispatcher {
        Dispatcher {
            http: shared::http::client(CONNECT_TIMEOUT, DEADLINE),
            address: self.function.address(),
            token: self.lane.stack.issuer.token(&self.audience()),
        }
    }

    pub(super) fn audience(&self) -> String {
        self.lane.stack.tasks.settings().function_url(QUEUE)
    }

    /// Dispatches a task once, whatever comes of it.
    pub(super) async fn dispatch(&mut self, delivery: &Delivery) -> Option<Answer> {
        let answer = self.dispatcher().dispatch(delivery).await;
        self.saw(answer.as_ref());
        answer
    }

    /// The same, with the commands that it cost.
    pub(super) async fn measured(&mut self, delivery: &Delivery) -> (Option<Answer>, u64) {
        let before = self.lane.commands();
        let answer = self.dispatch(delivery).await;
        (answer, self.lane.commands() - before)
    }

    /// Dispatches a task that is rescheduled, and says for how long and what that cost.
    pub(super) async fn measured_wait(&mut self, delivery: &Delivery) -> (Duration, u64) {
        let now = Clock::system().now();
        let (answer, commands) = self.measured(delivery).await;
        let until = answer.expect("an answer").body["until"].take();
        let until: DateTime<Utc> = serde_json::from_value(until).expect("it is rescheduled");
        ((until - now).to_std().expect("it is ahead"), commands)
    }

    /// Takes note of an answer, or of none.
    pub(super) fn saw(&mut self, answer: Option<&Answer>) {
        let shown = answer.map(|answer| Shown::new(answer.status, answer.outcome(), answer.reason()));
        self.note(shown);
    }

    fn note(&mut self, shown: Option<Shown>) {
        self.seen.push(Seen(shown));
        assert!(self.seen.len() <= MAX_DISPATCHES, "a task without an end");
    }

    /// Dispatches a task as Cloud Tasks does, then its successors, each when it is due, until there are none.
    pub(super) async fn follow(&mut self, mut delivery: Delivery) {
        loop {
            if self.dispatch(&delivery).await.is_some_and(|answer| answer.status == 200) {
                let Some(next) = self.next().await else { return };
                delivery = next;
            } else {
                delivery.retry_count += 1;
                sleep(BEFORE_DISPATCHED_AGAIN).await;
            }
        }
    }

    /// The task's successor, once it is due.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        let next = self.successor().await?;
        until(next.due).await;
        Some(next)
    }

    /// The task's successor.
    pub(super) async fn successor(&mut self) -> Option<Delivery> {
        let mut tasks = self.lane.stack.take_tasks(QUEUE).await;
        assert!(tasks.len() <= 1, "a task has one successor at most: {tasks:?}");
        tasks.pop()
    }

    /// A task was dispatched so many times more, each time like the last.
    pub(super) fn pass_over(&mut self, dispatches: u32) {
        self.passed_over += dispatches;
    }

    /// The row shows so many tasks alike.
    pub(super) fn tasks(&mut self, tasks: u32) {
        self.tasks = tasks;
    }

    /// So many commands were another task's.
    pub(super) fn leave_out(&mut self, commands: u64) {
        self.others_commands = commands;
    }

    /// Until something ends it, the task is dispatched again after such waits, the last of which stays, and each dispatch
    /// costs as many commands.
    pub(super) fn waits(&mut self, waits: &[Duration], commands: u64) {
        let dispatches = dispatches_within(DAY, waits);
        self.a_day = Some((dispatches, dispatches * commands));
    }

    /// Until something ends it, Cloud Tasks dispatches the task again after its backoff.
    pub(super) fn waits_for_backoff(&mut self, commands: u64) {
        self.waits(&backoffs(), commands);
    }

    /// Waits until as many runs of the row's tasks have begun.
    pub(super) async fn until_runs(&self, runs: usize) {
        while self.lane.stack.rows::<(String,)>("SELECT key FROM runs").await.len() < runs {
            sleep(POLL).await;
        }
    }

    /// Takes note of what a dispatch was answered that did not wait for it.
    pub(super) async fn saw_line(&mut self, task: &str, outcome: &str) {
        let line = self.line(task, outcome).await;
        let status = line["task.status"].as_u64().and_then(|status| status.try_into().ok());
        let reason = line["task.reason"].as_str().unwrap_or_default();
        self.note(Some(Shown::new(status.expect("a status"), outcome, reason)));
    }

    /// The canonical line of a dispatch, once it is written.
    pub(super) async fn line(&self, task: &str, outcome: &str) -> Value {
        loop {
            let log = self.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let is_it = |line: &Value| line["task.name"] == task && line["task.outcome"] == outcome;
            if let Some(line) = lines.find(is_it) {
                return line;
            }
            sleep(POLL).await;
        }
    }

    pub(super) fn log(&self) -> String {
        self.function.with(|processes| processes[0].log())
    }

    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// What the row showed.
    pub(super) async fn ending(&self, what: &'static str, ends: &'static str) -> Ending {
        let stack = &self.lane.stack;
        let counted: Vec<(i64,)> = stack
            .rows(
                "SELECT count(*) FROM jobs.failures f
                 WHERE kind IN ('failed', 'permanent', 'started') OR kind = 'killed' AND (alone OR NOT EXISTS (
                     SELECT FROM jobs.failures o
                     WHERE o.kind = 'killed' AND o.instance = f.instance AND o.key <> f.key
                 ))",
            )
            .await;
        let kinds: Vec<(String, i64)> =
            stack.rows("SELECT kind, count(*) FROM jobs.failures GROUP BY kind ORDER BY min(at), kind").await;
        let dead_letters: Vec<(String, String)> =
            stack.rows("SELECT state, reason FROM jobs.dead_letters ORDER BY created_at").await;
        let times = |n: i64| if n == 1 { String::new() } else { format!("{n} × ") };
        let tasks = i64::from(self.tasks);
        let rows = kinds.iter().map(|(kind, n)| format!("{}`{kind}`", times(n / tasks)));
        let dead_letters =
            dead_letters.iter().map(|(state, reason)| format!("dead letter {reason} ({state})"));
        let mut written: Vec<String> = rows.chain(dead_letters).collect();
        if written.is_empty() {
            written.push("nothing".to_owned());
        }
        let dispatches = (self.seen.len() as u64 + u64::from(self.passed_over)) / u64::from(self.tasks);
        let commands = (self.lane.commands() - self.others_commands) / u64::from(self.tasks);
        let (dispatches, commands) = match self.a_day {
            None => (Amount::InAll(dispatches), Amount::InAll(commands)),
            Some((dispatches, commands)) => (Amount::PerDay(dispatches), Amount::PerDay(commands)),
        };
        let seen = self.seen.clone();
        Ending { what, ends, seen, counted: counted[0].0 / tasks, written, dispatches, commands }
    }
}

impl Dispatcher {
    /// The same, to another place.
    pub(super) fn to(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// `None` is no answer.
    pub(super) async fn dispatch(&self, delivery: &Delivery) -> Option<Answer> {
        let token = || format!("Bearer {}", self.token);
        let mut request = self
            .http
            .post(format!("http://{}{}", self.address, QUEUE.path()))
            // A kept connection might lead to an instance that is gone.
            .header("connection", "close")
            .header("content-type", "application/json")
            .body(delivery.body.clone());
        let authorization = delivery.authorization.clone().unwrap_or_else(token);
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        for (name, value) in delivery.headers(QUEUE) {
            request = request.header(name, value);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await.ok()?;
        Some(Answer { status, retry_after, body: serde_json::from_slice(&body).unwrap_or_default() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// A task whose runs do this.
pub(super) fn task(acts: &[Act]) -> Delivery {
    task_of(&Script { acts: acts.to_vec(), ..Script::default() })
}

/// The same, each run after a while.
pub(super) fn slow_task(acts: &[Act], after: Duration) -> Delivery {
    let after_ms = after.as_millis().try_into().expect("it is not so long");
    task_of(&Script { acts: acts.to_vec(), after_ms, ..Script::default() })
}

pub(super) fn task_of(script: &Script) -> Delivery {
    envelope(&json!(script), &json!({}))
}

/// A task with such data and more fields in its envelope.
pub(super) fn envelope(data: &Value, more: &Value) -> Delivery {
    let mut envelope = json!({ "data": data, "idempotencyKey": Uuid::new_v4() });
    for (name, value) in more.as_object().expect("fields") {
        envelope[name] = value.clone();
    }
    Delivery::new(envelope.to_string()).task(&Uuid::new_v4().simple().to_string())
}

/// Waits until then.
pub(super) async fn until(due: Option<DateTime<Utc>>) {
    if let Some(due) = due {
        let wait = (due - Clock::system().now()).to_std().unwrap_or_default();
        sleep(wait + ROUNDING).await;
    }
}

/// Cloud Tasks' waits after each dispatch that was not answered with 2xx.
pub(super) fn backoffs() -> Vec<Duration> {
    let policy = QUEUE.policy();
    let waits = (1..).map(|failures| policy.backoff(failures));
    let mut all: Vec<Duration> = waits.take_while(|wait| *wait < policy.max_backoff()).collect();
    all.push(policy.max_backoff());
    all
}

/// Dispatches within a time, with such waits after each, the last of which stays.
pub(super) fn dispatches_within(time: Duration, waits: &[Duration]) -> u64 {
    let last = *waits.last().expect("there is a wait");
    let (mut at, mut dispatches) = (Duration::ZERO, 0);
    for wait in waits.iter().copied().chain(std::iter::repeat(last)) {
        if at >= time {
            break;
        }
        dispatches += 1;
        at += wait;
    }
    dispatches
}
