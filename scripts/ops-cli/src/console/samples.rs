//! What a console reads each minute while it runs, and keeps in its memory: how tasks ended in the last hour, and what the month
//! costs. So the page of all queues asks for neither, however many look at it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{MissedTickBehavior, interval};

use super::bars::{Bars, Colour};
use crate::canary::FAILURES;
use crate::moment;
use crate::names::WEBHOOKS;
use crate::operations::cost::MonthCost;
use crate::operations::last_hour::{Bar, Counted, Counts, Deploy, LastHour};
use crate::operations::numbers::{Numbers, REFUSED};
use crate::operations::{Asked, Operations};

const MINUTE: Duration = Duration::from_mins(1);
/// Minutes of which samples are kept.
const HOUR_MINUTES: usize = 60;

/// What was sampled; clones share it.
#[derive(Clone, Default)]
pub(super) struct Samples(Arc<Mutex<Sampled>>);

#[derive(Default)]
struct Sampled {
    /// When the first sample of processes was taken.
    since: Option<DateTime<Utc>>,
    /// What each process had counted at its last sample.
    before: Counted,
    /// What was counted in each minute, the last one at the end.
    minutes: VecDeque<Bar>,
    started: BTreeMap<String, Vec<Deploy>>,
    /// Of a project.
    hour: Option<LastHour>,
    cost: Option<(Option<MonthCost>, Asked)>,
}

impl Samples {
    /// Samples until the process ends. A minute in which nothing can be read has no bar of its own: it is counted in the next.
    pub(super) async fn take(self, operations: Operations) {
        let mut minutes = interval(MINUTE);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            minutes.tick().await;
            match operations.last_hour().await {
                Ok(Some(hour)) => self.sampled().hour = Some(hour),
                Ok(None) => {
                    if let Ok(counted) = operations.counted().await {
                        self.add(operations.clock.now(), counted.numbers);
                    }
                }
                // The page says which source does not respond; what was read before keeps its time.
                Err(_) => {}
            }
            let cost = operations.cost_of_month().await;
            let mut sampled = self.sampled();
            let was_known = matches!(sampled.cost, Some((Some(_), _)));
            if cost.0.is_some() || !was_known {
                sampled.cost = Some(cost);
            }
        }
    }

    fn sampled(&self) -> MutexGuard<'_, Sampled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, now: DateTime<Utc>, numbers: BTreeMap<&'static str, Numbers>) {
        let mut sampled = self.sampled();
        if sampled.since.is_none() && numbers.is_empty() {
            return;
        }
        let mut counted = Counted::new();
        for (name, numbers) in numbers {
            let counts = numbers.by_outcome;
            if let Some(before) = sampled.before.get(name) {
                counted.insert(name.to_owned(), since(before, &counts));
            }
            sampled.before.insert(name.to_owned(), counts);
            let started = sampled.started.entry(name.to_owned()).or_default();
            if let Some(at) = numbers.since.filter(|at| started.last().is_none_or(|last| last.at < *at)) {
                started.push(Deploy { at, revision: None });
            }
        }
        if sampled.since.is_none() {
            sampled.since = Some(now);
            return;
        }
        sampled.minutes.push_back(Bar { until: now, counted });
        if sampled.minutes.len() > HOUR_MINUTES {
            let first = sampled.minutes.pop_front();
            sampled.since = first.map(|first| first.until);
            let since = sampled.since;
            for started in sampled.started.values_mut() {
                // The newest stays: it is what the next start is told from.
                let newest = started.last().map(|it| it.at);
                started.retain(|it| Some(it.at) == newest || since.is_none_or(|since| it.at > since));
            }
        }
    }

    /// None before anything was sampled.
    pub(super) fn last_hour(&self) -> Option<LastHour> {
        let sampled = self.sampled();
        sampled.hour.clone().or_else(|| {
            Some(LastHour {
                since: sampled.since?,
                bar_minutes: 1,
                bars: sampled.minutes.iter().cloned().collect(),
                deploys: Some(sampled.started.clone()),
            })
        })
    }

    /// What the month costs, and what is to be said of its source; none before it was asked for.
    pub(super) fn cost(&self) -> Option<(Option<MonthCost>, Asked)> {
        self.sampled().cost.clone()
    }
}

/// What was counted in between; all of it, if the process has started anew.
fn since(before: &Counts, counts: &Counts) -> Counts {
    let earlier = |outcome: &String| before.get(outcome).copied().unwrap_or_default();
    let has_restarted = before.iter().any(|(outcome, count)| counts.get(outcome).is_none_or(|it| it < count));
    let between = |(outcome, count): (&String, &u64)| {
        let count = if has_restarted { *count } else { count - earlier(outcome) };
        (count > 0).then(|| (outcome.clone(), count))
    };
    counts.iter().filter_map(between).collect()
}

impl LastHour {
    /// The bars of a queue, the last one at the end, with a mark for each deploy.
    pub(super) fn bars_of(&self, queue: &str) -> Bars {
        let mut sums = Counts::new();
        let missing = self.places().saturating_sub(self.bars.len());
        let mut bars = vec![Vec::new(); missing];
        for bar in &self.bars {
            let counts = bar.counted.get(queue).into_iter().flatten();
            let (mut succeeded, mut failed) = (0, 0);
            for (outcome, count) in counts {
                *sums.entry(outcome.clone()).or_default() += count;
                let is_refusal_of_public = queue == WEBHOOKS && outcome == REFUSED;
                let is_failure = FAILURES.contains(&outcome.as_str()) && !is_refusal_of_public;
                *if is_failure { &mut failed } else { &mut succeeded } += count;
            }
            bars.push(vec![(Colour::Ok, succeeded), (Colour::Bad, failed)]);
        }
        let sums: Vec<_> = sums.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let said = if sums.is_empty() { "nothing ended".to_owned() } else { sums.join(", ") };
        // A minute that could not be read is in the next bar.
        let minutes = (self.until() - self.since).num_minutes();
        let deploys = self.deploys_of(queue);
        let deployed: String = deploys.iter().map(|(_, deploy)| deploy.words()).collect();
        let places: Vec<_> = deploys.iter().map(|(place, _)| *place).collect();
        Bars::of(format!("{queue}, the last {minutes} minutes: {said}{deployed}"), 0, &bars).marked(&places)
    }
}

impl Deploy {
    /// After what the bars say.
    fn words(&self) -> String {
        let at = moment::text(self.at);
        match &self.revision {
            Some(revision) => format!("; {revision} made at {at}"),
            None => format!("; process started at {at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn counts(done: u64, retry: u64) -> Counts {
        let counts = [("done".to_owned(), done), ("retry".to_owned(), retry)];
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    fn counted(done: u64, retry: u64, since: DateTime<Utc>) -> BTreeMap<&'static str, Numbers> {
        let numbers = Numbers { by_outcome: counts(done, retry), since: Some(since), ..Numbers::default() };
        BTreeMap::from([("q", numbers)])
    }

    fn minute(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    #[test]
    fn a_minute_has_what_was_counted_in_it_and_a_mark_where_a_process_started() {
        let samples = Samples::default();
        samples.add(minute(0), BTreeMap::new());
        assert!(samples.last_hour().is_none(), "no function is on this machine");
        let restarted = minute(3) - TimeDelta::seconds(10);
        for (at, (done, retry), since) in [
            (0, (5, 0), minute(-9)),
            (1, (5, 0), minute(-9)),
            (2, (8, 1), minute(-9)),
            (3, (2, 0), restarted),
        ] {
            samples.add(minute(at), counted(done, retry, since));
        }
        let hour = samples.last_hour().unwrap();
        let minutes: Vec<_> = hour.bars.iter().map(|bar| bar.counted["q"].clone()).collect();
        assert_eq!(minutes, [counts(0, 0), counts(3, 1), counts(2, 0)], "the process has restarted");
        let bars = hour.bars_of("q");
        assert_eq!(
            bars.label,
            "q, the last 3 minutes: 5 done, 1 retry; process started at 1970-01-01T00:02:50Z"
        );
        let classes: Vec<_> = bars.paths.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, ["ok", "bad", "mark"]);
        assert_eq!(hour.bars_of("another").label, "another, the last 3 minutes: nothing ended");
    }

    #[test]
    fn a_bar_after_minutes_that_could_not_be_read_says_how_long_it_is() {
        let samples = Samples::default();
        for at in [0, 1, 31] {
            samples.add(minute(at), counted(at.unsigned_abs(), 0, minute(-1)));
        }
        assert_eq!(samples.last_hour().unwrap().bars_of("q").label, "q, the last 31 minutes: 31 done");
    }

    #[test]
    fn what_a_public_service_refuses_is_drawn_as_no_failure() {
        let refused = Counts::from([(REFUSED.to_owned(), 9)]);
        let counted = Counted::from([WEBHOOKS, "q"].map(|name| (name.to_owned(), refused.clone())));
        let hour = LastHour {
            since: minute(0),
            bar_minutes: 1,
            bars: vec![Bar { until: minute(1), counted }],
            deploys: None,
        };
        let classes = |name| hour.bars_of(name).paths.into_iter().map(|(class, _)| class).collect::<Vec<_>>();
        assert_eq!((classes(WEBHOOKS), classes("q")), (vec!["ok"], vec!["bad"]));
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let samples = Samples::default();
        for at in 0..100 {
            samples.add(minute(at), counted(at.unsigned_abs(), 0, minute(at.min(50) - 1)));
        }
        let hour = samples.last_hour().unwrap();
        assert_eq!((hour.bars.len(), hour.since), (HOUR_MINUTES, minute(39)));
        let deploys = hour.deploys_of("q");
        assert_eq!(
            deploys.iter().map(|(_, it)| it.at).collect::<Vec<_>>(),
            (40..50).map(minute).collect::<Vec<_>>()
        );
        assert!(hour.deploys.unwrap()["q"].len() < 12, "what is older is forgotten");
        assert!(samples.last_hour().unwrap().bars_of("q").label.starts_with("q, the last 60 minutes: "));
    }
}
