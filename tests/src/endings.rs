//! Every way in which a dispatch can end, as real processes show it: one row per way, from which a table is made.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use shared::runtime::{self, Reason};
use tokio::time::timeout;

mod kills;
mod lane;
mod outages;
mod parsing;
mod refusals;
mod runs;
mod stage;

use lane::Lane;
use stage::Stage;

/// Rows that are played at the same time.
const LANES: usize = 10;
/// Longer than any row takes.
const TIMEOUT: Duration = Duration::from_mins(2);

type Play = for<'a> fn(&'a mut Stage<'_>) -> LocalBoxFuture<'a, ()>;

/// A row: something that happens to a task, and what is to end it.
struct Row {
    what: &'static str,
    ends: &'static str,
    /// Variables of the function that differ from those of other rows.
    environment: Vec<(&'static str, String)>,
    /// Takes seconds: begins before others.
    is_long: bool,
    play: Play,
}

impl Row {
    fn new(what: &'static str, ends: &'static str, play: Play) -> Self {
        Self { what, ends, environment: Vec::new(), is_long: false, play }
    }

    fn with(mut self, variable: &'static str, value: impl fmt::Display) -> Self {
        self.environment.push((variable, value.to_string()));
        self
    }

    fn long(mut self) -> Self {
        self.is_long = true;
        self
    }
}

/// What was seen of a dispatch: what was answered, if anything was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen(Option<Shown>);

/// An answer: status, outcome and reason. The reason of a skip is the job's, and any may stand for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    status: u16,
    outcome: String,
    reason: String,
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// Until the end.
    InAll(u64),
    /// In each day, until something ends it.
    PerDay(u64),
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InAll(n) => write!(formatter, "{n}"),
            Self::PerDay(n) => write!(formatter, "{n} per day"),
        }
    }
}

/// What a row showed.
#[derive(Debug, Clone)]
pub struct Ending {
    what: &'static str,
    ends: &'static str,
    seen: Vec<Seen>,
    counted: i64,
    written: Vec<String>,
    dispatches: Amount,
    commands: Amount,
}

/// Plays all rows.
pub async fn endings() -> Vec<Ending> {
    let rows: Vec<Row> = [refusals::rows(), parsing::rows(), runs::rows(), kills::rows(), outages::rows()]
        .into_iter()
        .flatten()
        .collect();
    let mut order: VecDeque<(usize, Row)> = rows.into_iter().enumerate().collect();
    order.make_contiguous().sort_by_key(|(_, row)| !row.is_long);
    let (waiting, played) = (RefCell::new(order), RefCell::new(Vec::new()));
    let lanes = (0..LANES).map(async |_| {
        let lane = Lane::start().await;
        loop {
            let Some((number, row)) = waiting.borrow_mut().pop_front() else { return };
            let ending = play(&lane, row).await;
            played.borrow_mut().push((number, ending));
        }
    });
    join_all(lanes).await;
    let mut played = played.into_inner();
    played.sort_by_key(|(number, _)| *number);
    played.into_iter().map(|(_, ending)| ending).collect()
}

async fn play(lane: &Lane, row: Row) -> Ending {
    let mut stage = Stage::set(lane, row.environment).await;
    let play = timeout(TIMEOUT, (row.play)(&mut stage));
    let failure = match AssertUnwindSafe(play).catch_unwind().await {
        Ok(Ok(())) => None,
        Ok(Err(_elapsed)) => Some("it never ends".to_owned()),
        Err(panic) => Some(text(panic.as_ref()).to_owned()),
    };
    match failure {
        None => stage.ending(row.what, row.ends).await,
        Some(failure) => panic!("{}: {failure}\nseen: {:?}\n{}", row.what, stage.seen(), stage.log()),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// The answers that the rows showed.
#[must_use]
pub fn shown(endings: &[Ending]) -> BTreeSet<Shown> {
    endings.iter().flat_map(|ending| &ending.seen).filter_map(|seen| seen.0.clone()).collect()
}

/// The answers that the runtime can give.
#[must_use]
pub fn possible() -> BTreeSet<Shown> {
    let shown = |answer: runtime::TaskResponse| Shown {
        status: answer.status,
        outcome: answer.outcome.to_owned(),
        reason: match answer.reason {
            Reason::None => "",
            Reason::Named(reason) => reason,
            Reason::OfTheJob => Shown::OF_THE_JOB,
        }
        .to_owned(),
    };
    runtime::task_responses().map(shown).collect()
}

impl Shown {
    const OF_THE_JOB: &str = "…";

    fn new(status: u16, outcome: &str, reason: &str) -> Self {
        let reason = if outcome == "skipped" { Self::OF_THE_JOB } else { reason };
        Self { status, outcome: outcome.to_owned(), reason: reason.to_owned() }
    }
}

/// The table of the endings.
#[must_use]
pub fn table(endings: &[Ending]) -> String {
    let head = "| what happens | response | counted | written | what ends it | dispatches | Redis commands |\n\
                |---|---|---|---|---|---|---|\n";
    let row = |ending: &Ending| {
        let Ending { what, ends, seen, counted, written, dispatches, commands } = ending;
        let (seen, written) = (in_order(seen), written.join(", "));
        format!("| {what} | {seen} | {counted} | {written} | {ends} | {dispatches} | {commands} |\n")
    };
    head.to_owned() + &endings.iter().map(row).collect::<String>()
}

/// Answers in their order. Those in a row that differ only in their reasons share what they have in common.
fn in_order(seen: &[Seen]) -> String {
    let kind = |seen: &Seen| seen.0.as_ref().map(|shown| (shown.status, shown.outcome.clone()));
    let groups = seen.chunk_by(|one, next| kind(one) == kind(next));
    groups.map(group).collect::<Vec<_>>().join("; ")
}

fn group(alike: &[Seen]) -> String {
    let Some(Shown { status, outcome, .. }) = &alike[0].0 else { return times(alike.len(), "none") };
    let answer = format!("{status} `{outcome}`");
    let reasons: Vec<&str> =
        alike.iter().flat_map(|seen| &seen.0).map(|shown| shown.reason.as_str()).collect();
    let same = reasons.iter().all(|reason| *reason == reasons[0]);
    match reasons[0] {
        first if same && (first.is_empty() || first == outcome || first == Shown::OF_THE_JOB) => {
            times(alike.len(), &answer)
        }
        first if same => times(alike.len(), &format!("{answer} {first}")),
        _ => {
            let runs = reasons.chunk_by(|one, next| one == next);
            let runs: Vec<_> = runs.map(|run| times(run.len(), run[0])).collect();
            format!("{answer} {}", runs.join(", "))
        }
    }
}

fn times(n: usize, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{n} × {what}") }
}
