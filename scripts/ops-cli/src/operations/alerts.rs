//! The alerts that fire: Cloud Monitoring's of a project. On this machine none is evaluated.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Asked, Listed, Operations, Source};
use crate::moment;

/// Alerts of one view; the newest first.
pub(super) const SHOWN: u32 = 20;

/// What is known of the alerts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Alerts {
    /// There is no Cloud Monitoring: the functions are processes on this machine.
    NotEvaluated,
    /// Cloud Monitoring did not say.
    Unknown,
    Firing(Listed<Alert>),
}

/// An alert that fires.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Alert {
    /// Its policy, as Terraform names it.
    pub(crate) policy: String,
    /// In small letters; empty, if the policy has none.
    pub(crate) severity: String,
    /// Which queue or service it is about, if it is about one.
    pub(crate) queue: Option<String>,
    pub(crate) since: DateTime<Utc>,
}

impl Alerts {
    /// A line for each alert, or that there is none and of what; nothing where it is not known.
    pub(crate) fn lines(&self, now: DateTime<Utc>) -> Vec<String> {
        let firing = match self {
            Self::NotEvaluated => return vec!["No alerts are evaluated on this machine.".to_owned()],
            Self::Unknown => return Vec::new(),
            Self::Firing(firing) => firing,
        };
        if firing.items.is_empty() {
            return vec!["No alert fires in Cloud Monitoring.".to_owned()];
        }
        let mut lines: Vec<_> = firing.items.iter().map(|alert| alert.line(now)).collect();
        if firing.is_cut {
            lines.push(format!("The newest {} alerts are shown; there are more.", firing.items.len()));
        }
        lines
    }

    /// Something fires.
    pub(crate) fn are_firing(&self) -> bool {
        matches!(self, Self::Firing(firing) if !firing.items.is_empty())
    }
}

impl Alert {
    fn line(&self, now: DateTime<Utc>) -> String {
        let Self { policy, severity, queue, since } = self;
        let severity = if severity.is_empty() { String::new() } else { format!(" ({severity})") };
        let queue = queue.as_ref().map(|queue| format!(", {queue}")).unwrap_or_default();
        format!("Alert fires{severity}: {policy}{queue}, opened {}", moment::distance(*since, now))
    }
}

impl Operations {
    /// The alerts that fire, and what is to be said of their source, if there is one.
    pub(super) async fn alerts(&self) -> (Alerts, Option<Asked>) {
        let monitoring = self.cloud_monitoring();
        if matches!(monitoring, Ok(None)) {
            return (Alerts::NotEvaluated, None);
        }
        let question = async {
            match monitoring? {
                Some(monitoring) => monitoring.alerts(SHOWN).await.map(Alerts::Firing),
                None => Ok(Alerts::NotEvaluated),
            }
        };
        let (alerts, asked) = self.ask(Source::CloudMonitoringAlerts, question).await;
        (alerts.unwrap_or(Alerts::Unknown), Some(asked))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn each_alert_has_its_line_and_an_empty_list_says_of_what() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let alert = |severity: &str, queue: Option<&str>| Alert {
            policy: "Jobs: dead-letters".to_owned(),
            severity: severity.to_owned(),
            queue: queue.map(str::to_owned),
            since: now - TimeDelta::minutes(5),
        };
        let firing = |items, is_cut| Alerts::Firing(Listed { items, is_cut });
        let two = firing(vec![alert("critical", Some("q")), alert("", None)], true);
        assert_eq!(
            two.lines(now),
            [
                "Alert fires (critical): Jobs: dead-letters, q, opened 5 min ago",
                "Alert fires: Jobs: dead-letters, opened 5 min ago",
                "The newest 2 alerts are shown; there are more.",
            ]
        );
        assert!(two.are_firing() && !firing(vec![], false).are_firing());
        assert_eq!(firing(vec![], false).lines(now), ["No alert fires in Cloud Monitoring."]);
        assert_eq!(Alerts::NotEvaluated.lines(now), ["No alerts are evaluated on this machine."]);
        assert!(Alerts::Unknown.lines(now).is_empty());
    }
}
