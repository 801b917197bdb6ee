//! What this month costs, by what the functions counted: of a project's in Cloud Monitoring, or of the processes on this machine.

use std::collections::BTreeMap;

use anyhow::ensure;
use chrono::{DateTime, Datelike as _, NaiveTime, TimeDelta, Utc};
use serde::Serialize;

use super::cloud_monitoring::{Step, Steps};
use super::numbers::Numbers;
use super::overview::Totals;
use super::usage::{Budget, SHORTEST, float};
use super::{Asked, Operations, Source};
use crate::cost::counted::{MONTH, Used, priced};

const STEP_MINUTES: u32 = 60;
const STEPS_PER_DAY: u32 = 24;
const NOT_INCLUDED: &str = "Not included: Postgres, which the application pays for, and messages.";
const AT_MOST: &str = "Cloud Run is an upper bound, as if no two tasks ever shared an instance.";
const AT_REST: &str = "What is charged whether tasks run or not is in both columns for the whole month.";

/// The price of this month: list prices and counts, and nothing else.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MonthCost {
    /// When counting began, and until when it counted.
    pub(crate) since: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    pub(crate) tasks: Estimate,
    pub(crate) redis_commands: Estimate,
    pub(crate) budget: Budget,
    /// In USD, at most.
    pub(crate) total: Estimate,
    /// What the total is made of.
    pub(crate) parts: Vec<Part>,
    /// How it was estimated, and what is not in it.
    pub(crate) notes: Vec<String>,
}

/// What was counted so far, and what that makes in thirty days; none, if it was counted for too short a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Estimate {
    pub(crate) so_far: f64,
    pub(crate) projected: Option<f64>,
}

/// A part of the price.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Part {
    pub(crate) what: &'static str,
    #[serde(flatten)]
    pub(crate) usd: Estimate,
}

/// What was used since a time, and what would be used in thirty days.
struct Counts {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    so_far: Vec<Used>,
    projected: Option<Vec<Used>>,
    notes: Vec<String>,
}

impl Operations {
    /// What this month costs, and what is to be said of the source of it.
    pub(crate) async fn cost_of_month(&self) -> (Option<MonthCost>, Asked) {
        let source = match self.cloud_monitoring() {
            Ok(None) => Source::Metrics,
            Ok(Some(_)) | Err(_) => Source::CloudMonitoringMonth,
        };
        self.ask(source, async { MonthCost::of(self.counts_of_month().await?) }).await
    }

    async fn counts_of_month(&self) -> anyhow::Result<Counts> {
        let now = self.clock.now();
        let Some(monitoring) = self.cloud_monitoring()? else {
            return of_processes(&self.counted().await?, now);
        };
        let since = start_of_month(now);
        let day = Steps::until(now, STEP_MINUTES, STEPS_PER_DAY);
        let first = day.first.min(since + TimeDelta::minutes(STEP_MINUTES.into()));
        Ok(of_project(&monitoring.used(Steps { first, ..day }).await?, since, day))
    }
}

fn start_of_month(now: DateTime<Utc>) -> DateTime<Utc> {
    let first = now.date_naive().with_day(1).unwrap_or(now.date_naive());
    first.and_time(NaiveTime::MIN).and_utc()
}

/// A process has counted since it started, whenever the month began.
fn of_processes(counted: &Totals, now: DateTime<Utc>) -> anyhow::Result<Counts> {
    let started: Vec<_> =
        counted.numbers.iter().filter_map(|(name, numbers)| Some((*name, numbers, numbers.since?))).collect();
    ensure!(!started.is_empty(), "no function runs on this machine");
    let since = started.iter().map(|(.., since)| *since).min().unwrap_or(now);
    let used = |numbers: &Numbers, name: &str| Used {
        name: name.to_owned(),
        dispatches: float(numbers.dispatches),
        total_ms: numbers.total_ms.unwrap_or_default(),
        redis_commands: float(numbers.redis_commands.values().sum()),
        vendor_calls: float(numbers.vendor_calls.values().sum()),
    };
    let paced = |(name, numbers, since): &(&str, &Numbers, DateTime<Utc>)| {
        let ran = now - *since;
        (ran >= SHORTEST).then(|| used(numbers, name).times(MONTH.as_seconds_f64() / ran.as_seconds_f64()))
    };
    let are_all_read = counted.silent.is_empty();
    let projected: Option<Vec<_>> = started.iter().map(paced).collect::<Option<_>>().filter(|_| are_all_read);
    let mut notes = vec!["This machine costs nothing: it is what a project would be charged.".to_owned()];
    notes.push(if projected.is_some() {
        "Projected from the pace of each process since its start.".to_owned()
    } else if !are_all_read {
        format!("Not counted, and nothing is projected: {} do not respond.", counted.silent.join(", "))
    } else {
        "Nothing is projected before each process has counted for an hour.".to_owned()
    });
    let so_far = started.iter().map(|(name, numbers, _)| used(numbers, name)).collect();
    Ok(Counts { since, until: now, so_far, projected, notes })
}

/// Since the month began, and at the pace of the last day.
fn of_project(
    used: &BTreeMap<String, BTreeMap<DateTime<Utc>, Step>>,
    since: DateTime<Utc>,
    day: Steps,
) -> Counts {
    let sum = |name: &String, steps: &BTreeMap<DateTime<Utc>, Step>, from: DateTime<Utc>| {
        let mut sum = Used { name: name.clone(), ..Used::default() };
        for (_, step) in steps.iter().filter(|(end, _)| **end > from) {
            sum.dispatches += step.dispatches;
            sum.total_ms += step.total_ms;
            sum.redis_commands += step.redis_commands;
        }
        sum
    };
    let until = day.last.max(since);
    let before_day = day.last - TimeDelta::days(1);
    let days = MONTH.as_seconds_f64() / TimeDelta::days(1).as_seconds_f64();
    let notes = [
        "Projected: thirty times the last 24 hours.",
        "Network traffic to vendors is not included: their calls are not counted in a project.",
    ];
    Counts {
        since,
        until,
        so_far: used.iter().map(|(name, steps)| sum(name, steps, since)).collect(),
        projected: Some(used.iter().map(|(name, steps)| sum(name, steps, before_day).times(days)).collect()),
        notes: notes.map(str::to_owned).into(),
    }
}

impl MonthCost {
    fn of(counts: Counts) -> anyhow::Result<Self> {
        let Counts { since, until, so_far, projected, mut notes } = counts;
        let estimate = |of: fn(&Used) -> f64| Estimate {
            so_far: so_far.iter().map(of).sum(),
            projected: projected.as_ref().map(|used| used.iter().map(of).sum()),
        };
        let counted = priced(&so_far, until - since)?;
        let month = projected.as_ref().map(|used| priced(used, MONTH)).transpose()?;
        let usd = |place: usize| Estimate {
            so_far: counted[place].1,
            projected: month.as_ref().map(|month| month[place].1),
        };
        let mut parts: Vec<_> =
            counted.iter().enumerate().map(|(place, (what, _))| Part { what, usd: usd(place) }).collect();
        let total = parts.iter().map(|part| part.usd);
        let total = Estimate {
            so_far: total.clone().map(|usd| usd.so_far).sum(),
            projected: total.map(|usd| usd.projected).sum(),
        };
        parts.retain(|part| part.usd.so_far > 0.0 || part.usd.projected.is_some_and(|usd| usd > 0.0));
        notes.extend([AT_MOST, AT_REST, NOT_INCLUDED].map(str::to_owned));
        let (tasks, redis_commands) =
            (estimate(|used| used.dispatches), estimate(|used| used.redis_commands));
        Ok(Self { since, until, tasks, redis_commands, budget: Budget::declared()?, total, parts, notes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn counted(since: DateTime<Utc>) -> Totals {
        let numbers = Numbers {
            since: Some(since),
            dispatches: 10,
            total_ms: Some(500.0),
            redis_commands: BTreeMap::from([("idempotency".to_owned(), 20), ("cache".to_owned(), 10)]),
            ..Numbers::default()
        };
        Totals { numbers: BTreeMap::from([("token-refresh", numbers)]), ..Totals::default() }
    }

    #[test]
    fn a_process_is_projected_at_its_own_pace_once_it_ran_for_an_hour() {
        let now = time("2026-11-28T03:00:00Z");
        let cost = MonthCost::of(of_processes(&counted(now - TimeDelta::days(3)), now).unwrap()).unwrap();
        assert_eq!(cost.tasks, Estimate { so_far: 10.0, projected: Some(100.0) });
        assert_eq!(cost.redis_commands, Estimate { so_far: 30.0, projected: Some(300.0) });
        let parts: f64 = cost.parts.iter().map(|part| part.usd.so_far).sum();
        assert!((parts - cost.total.so_far).abs() < 1e-9 && parts > 1.0, "what is charged at rest: {cost:?}");
        let young = of_processes(&counted(now - TimeDelta::minutes(59)), now).unwrap();
        let young = MonthCost::of(young).unwrap();
        assert_eq!((young.total.projected, young.tasks.projected), (None, None));
        assert!(of_processes(&Totals::default(), now).is_err());
        let mut partly = counted(now - TimeDelta::days(3));
        partly.silent.push("calendar-sync");
        let partly = MonthCost::of(of_processes(&partly, now).unwrap()).unwrap();
        assert_eq!((partly.tasks.so_far, partly.tasks.projected), (10.0, None));
        assert!(partly.notes.iter().any(|note| note.contains("calendar-sync")), "{partly:?}");
    }

    #[test]
    fn a_project_is_counted_since_the_month_began_and_projected_from_its_last_day() {
        let now = time("2026-11-03T02:30:00Z");
        let (since, day) = (start_of_month(now), Steps::until(now, STEP_MINUTES, STEPS_PER_DAY));
        assert_eq!((since, day.last), (time("2026-11-01T00:00:00Z"), time("2026-11-03T02:00:00Z")));
        let step = |dispatches| Step { dispatches, total_ms: 0.0, redis_commands: 0.0 };
        let steps = BTreeMap::from([
            (time("2026-11-01T00:00:00Z"), step(1000.0)),
            (time("2026-11-01T01:00:00Z"), step(100.0)),
            (time("2026-11-02T02:00:00Z"), step(10.0)),
            (time("2026-11-02T03:00:00Z"), step(1.0)),
            (time("2026-11-03T02:00:00Z"), step(2.0)),
        ]);
        let cost = MonthCost::of(of_project(&BTreeMap::from([("q".to_owned(), steps)]), since, day)).unwrap();
        assert_eq!(
            cost.tasks,
            Estimate { so_far: 113.0, projected: Some(90.0) },
            "hours before are not in it"
        );
        assert_eq!((cost.since, cost.until), (since, day.last));
        let first_hour = Steps::until(time("2026-11-01T00:30:00Z"), STEP_MINUTES, STEPS_PER_DAY);
        let cost = MonthCost::of(of_project(&BTreeMap::new(), since, first_hour)).unwrap();
        assert_eq!((cost.until, cost.tasks.so_far), (since, 0.0), "no hour of the month has ended");
    }
}
