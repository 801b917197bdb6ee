//! How the tasks of each queue ended in the last hour, and what was deployed in it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::Operations;
use super::cloud_monitoring::Steps;
use crate::service::Service;

const HOUR_MINUTES: u32 = 60;
/// Of a bar in a project: Cloud Monitoring has a point per minute, and knows what was counted between two of them.
const PROJECT_BAR_MINUTES: u32 = 5;

/// Counts by outcome.
pub(crate) type Counts = BTreeMap<String, u64>;
/// The same by queue, or by service if it has none.
pub(crate) type Counted = BTreeMap<String, Counts>;

/// The last hour, or as much of it as is known.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastHour {
    /// When the first bar begins.
    pub(crate) since: DateTime<Utc>,
    pub(crate) bar_minutes: u32,
    /// The last one at the end.
    pub(crate) bars: Vec<Bar>,
    /// By queue or service; none, if Cloud Run did not say.
    pub(crate) deploys: Option<BTreeMap<String, Vec<Deploy>>>,
}

/// What was counted until a time, after the bar before it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    pub(crate) until: DateTime<Utc>,
    pub(crate) counted: Counted,
}

/// A revision that was made, or, on this machine, a process that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Deploy {
    pub(crate) at: DateTime<Utc>,
    /// None of a process.
    pub(crate) revision: Option<String>,
}

impl LastHour {
    /// When the last bar ends.
    pub(crate) fn until(&self) -> DateTime<Utc> {
        self.bars.last().map_or(self.since, |bar| bar.until)
    }

    /// Bars of a whole hour.
    pub(crate) fn places(&self) -> usize {
        (HOUR_MINUTES / self.bar_minutes.max(1)) as usize
    }

    /// The deploys of a queue in this time, each with the place of its bar.
    pub(crate) fn deploys_of(&self, queue: &str) -> Vec<(usize, &Deploy)> {
        let deploys = self.deploys.as_ref().and_then(|deploys| deploys.get(queue)).into_iter().flatten();
        let missing = self.places().saturating_sub(self.bars.len());
        let place = |deploy: &Deploy| {
            let bar = self.bars.iter().position(|bar| bar.until >= deploy.at)?;
            (deploy.at > self.since).then_some(missing + bar)
        };
        deploys.filter_map(|deploy| Some((place(deploy)?, deploy))).collect()
    }
}

impl Operations {
    /// The last hour of a project; none on a machine, whose processes count only totals.
    pub(crate) async fn last_hour(&self) -> anyhow::Result<Option<LastHour>> {
        let Some(monitoring) = self.cloud_monitoring()? else { return Ok(None) };
        let steps = Steps::until(self.clock.now(), PROJECT_BAR_MINUTES, HOUR_MINUTES / PROJECT_BAR_MINUTES);
        let (counted, services) = tokio::join!(monitoring.outcomes(steps), self.services());
        let mut counted = counted?;
        let bars =
            steps.ends().map(|until| Bar { until, counted: counted.remove(&until).unwrap_or_default() });
        let deploys = services.ok().flatten().map(|services| {
            let made = |service: &Service| {
                service.made().map(|(at, revision)| Deploy { at, revision: Some(revision) }).collect()
            };
            services.iter().map(|(name, service)| (name.clone(), made(service))).collect()
        });
        let since = steps.first - TimeDelta::minutes(steps.minutes.into());
        Ok(Some(LastHour { since, bar_minutes: steps.minutes, bars: bars.collect(), deploys }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deploy_is_in_the_bar_in_which_it_happened() {
        let minute = |minute: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let bar = |until: i64| Bar { until: minute(until), counted: Counted::new() };
        let deploy = |at| Deploy { at, revision: None };
        let deploys = vec![deploy(minute(0)), deploy(minute(7)), deploy(minute(10)), deploy(minute(11))];
        let hour = LastHour {
            since: minute(0),
            bar_minutes: 5,
            bars: vec![bar(5), bar(10)],
            deploys: Some(BTreeMap::from([("q".to_owned(), deploys)])),
        };
        let places: Vec<_> =
            hour.deploys_of("q").into_iter().map(|(place, deploy)| (place, deploy.at)).collect();
        assert_eq!(places, [(11, minute(7)), (11, minute(10))], "of twelve places the last two have a bar");
        assert!(hour.deploys_of("another").is_empty());
        assert_eq!(hour.until(), minute(10));
        assert_eq!(LastHour { bars: vec![], ..hour }.until(), minute(0), "nothing was read yet");
    }
}
