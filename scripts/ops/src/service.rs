//! A Cloud Run service: its revisions, and who of them gets the traffic.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::gcloud::Gcloud;

/// Tags, and with them revisions to go back to, that a service keeps.
const KEPT_TAGS: usize = 5;
const ALL: u32 = 100;
/// Counts up with each change of the service's template.
const GENERATION: &str = "serving.knative.dev/configurationGeneration";

/// A service as it was when gcloud was asked. A revision that was found good has a tag; tags are the way back.
pub(crate) struct Service {
    pub(crate) function: String,
    /// Where traffic goes, as the service shows it.
    traffic: Vec<Target>,
    /// By name.
    revisions: BTreeMap<String, Revision>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    revision_name: String,
    #[serde(default)]
    percent: u32,
    tag: Option<String>,
}

/// One deployed build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    generation: u64,
    is_ready: bool,
}

#[derive(Deserialize)]
struct Described {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    traffic: Vec<Target>,
}

#[derive(Deserialize)]
struct Listed {
    metadata: Metadata,
    status: Option<Conditions>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Conditions {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl From<Listed> for (String, Revision) {
    fn from(listed: Listed) -> Self {
        let generation = listed.metadata.labels.get(GENERATION).and_then(|number| number.parse().ok());
        let conditions = listed.status.map(|status| status.conditions).unwrap_or_default();
        let is_ready = conditions.iter().any(|it| it.kind == "Ready" && it.status == "True");
        (listed.metadata.name, Revision { generation: generation.unwrap_or_default(), is_ready })
    }
}

impl Service {
    pub(crate) fn read(gcloud: &Gcloud, function: &str) -> anyhow::Result<Self> {
        let region = format!("--region={}", gcloud.place().region);
        let described: Described = gcloud.read(&["run", "services", "describe", function, &region])?;
        let service = format!("--service={function}");
        let listed: Vec<Listed> = gcloud.read(&["run", "revisions", "list", &service, &region])?;
        let revisions = listed.into_iter().map(Into::into).collect();
        Ok(Self { function: function.to_owned(), traffic: described.status.traffic, revisions })
    }

    /// The revision that gets all traffic.
    pub(crate) fn serving(&self) -> anyhow::Result<&str> {
        let mut serving = self.traffic.iter().filter(|target| target.percent > 0);
        match (serving.next(), serving.next()) {
            (Some(target), None) if target.percent == ALL => Ok(&target.revision_name),
            (None, _) => bail!("{} serves nothing yet: deploy it with Terraform first", self.function),
            _ => bail!(
                "the traffic of {} is split: another deployment is under way, or was cut off. Look at it, and end it with scripts/rollback {} --to <revision>",
                self.function,
                self.function,
            ),
        }
    }

    /// The revision that gets most traffic.
    pub(crate) fn leading(&self) -> anyhow::Result<&str> {
        let leading = self.traffic.iter().max_by_key(|target| target.percent);
        Ok(&leading.with_context(|| format!("{} serves nothing", self.function))?.revision_name)
    }

    /// The revision with a tag.
    pub(crate) fn tagged(&self, tag: &str) -> Option<&str> {
        let target = self.traffic.iter().find(|target| target.tag.as_deref() == Some(tag))?;
        Some(&target.revision_name)
    }

    /// Whether there is a revision of that name.
    pub(crate) fn has(&self, revision: &str) -> bool {
        self.revisions.contains_key(revision)
    }

    /// The newest revision before `revision` that was found good.
    pub(crate) fn before(&self, revision: &str) -> Option<&str> {
        let generation = self.revisions.get(revision)?.generation;
        let good = self.newest_tagged().into_iter().find(|(_, name)| {
            self.revisions.get(*name).is_some_and(|it| it.is_ready && it.generation < generation)
        });
        good.map(|(_, name)| name)
    }

    /// Tag and revision, newest first.
    fn newest_tagged(&self) -> Vec<(&str, &str)> {
        let mut tagged: Vec<_> = self
            .traffic
            .iter()
            .filter_map(|target| Some((target.tag.as_deref()?, target.revision_name.as_str())))
            .collect();
        tagged.sort_by_key(|(_, name)| {
            std::cmp::Reverse(self.revisions.get(*name).map_or(0, |revision| revision.generation))
        });
        tagged
    }

    /// Gives a revision a part of the traffic; the rest stays where it is.
    pub(crate) fn share(&self, gcloud: &Gcloud, revision: &str, percent: u32) -> anyhow::Result<()> {
        self.update_traffic(gcloud, revision, percent, &[])
    }

    /// Gives a revision all traffic, for good: the one before gets a tag, too, and the oldest tags go.
    pub(crate) fn promote(&self, gcloud: &Gcloud, revision: &str) -> anyhow::Result<()> {
        let before = self.serving()?;
        let mut tags = Vec::new();
        if !self.traffic.iter().any(|target| target.tag.is_some() && target.revision_name == before) {
            let suffix = before.strip_prefix(&self.function).unwrap_or(before).trim_start_matches('-');
            tags.push(format!("--update-tags=rev-{suffix}={before}"));
        }
        let stale: Vec<_> = self.newest_tagged().into_iter().skip(KEPT_TAGS).map(|(tag, _)| tag).collect();
        if !stale.is_empty() {
            tags.push(format!("--remove-tags={}", stale.join(",")));
        }
        self.update_traffic(gcloud, revision, ALL, &tags)
    }

    /// Gives `revision` all traffic, and takes the tags of `bad` away: nobody shall go back to it.
    pub(crate) fn return_to(&self, gcloud: &Gcloud, revision: &str, bad: &str) -> anyhow::Result<()> {
        let tags: Vec<_> = self
            .newest_tagged()
            .into_iter()
            .filter(|(_, name)| *name == bad && bad != revision)
            .map(|(tag, _)| tag)
            .collect();
        let remove = (!tags.is_empty()).then(|| format!("--remove-tags={}", tags.join(",")));
        self.update_traffic(gcloud, revision, ALL, remove.as_slice())
    }

    fn update_traffic(
        &self,
        gcloud: &Gcloud,
        revision: &str,
        percent: u32,
        tags: &[String],
    ) -> anyhow::Result<()> {
        let region = format!("--region={}", gcloud.place().region);
        let to = format!("--to-revisions={revision}={percent}");
        let mut arguments = vec!["run", "services", "update-traffic", &self.function, &region, &to];
        arguments.extend(tags.iter().map(String::as_str));
        let Err(error) = gcloud.change(&arguments) else { return Ok(()) };
        // A service whose newest revision does not start is never ready, and gcloud calls that a failure of whatever was
        // asked. What counts is where the tasks go.
        let now = Self::read(gcloud, &self.function)?;
        let goes_there = now.traffic.iter().any(|it| it.revision_name == revision && it.percent == percent);
        if !goes_there {
            return Err(error);
        }
        eprintln!("{revision} has its {percent} % all the same");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(traffic: &[(&str, u32, Option<&str>)], bad: &[&str]) -> Service {
        let target = |(name, percent, tag): &(&str, u32, Option<&str>)| Target {
            revision_name: (*name).to_owned(),
            percent: *percent,
            tag: tag.map(str::to_owned),
        };
        let revisions = ["f-1", "f-2", "f-3", "f-4"].into_iter().zip(1..).map(|(name, generation)| {
            (name.to_owned(), Revision { generation, is_ready: !bad.contains(&name) })
        });
        Service {
            function: "f".to_owned(),
            traffic: traffic.iter().map(target).collect(),
            revisions: revisions.collect(),
        }
    }

    #[test]
    fn one_goes_back_to_what_was_found_good_and_starts() {
        #[track_caller]
        fn check(tagged: &[&str], bad: &[&str], from: &str, expected: Option<&str>) {
            let traffic: Vec<_> = tagged.iter().map(|name| (*name, 0, Some(*name))).collect();
            assert_eq!(service(&traffic, bad).before(from), expected, "{tagged:?} {bad:?} {from}");
        }
        check(&["f-1", "f-2", "f-3", "f-4"], &[], "f-4", Some("f-3"));
        check(&["f-1", "f-2", "f-3", "f-4"], &[], "f-2", Some("f-1"));
        check(&["f-1", "f-4"], &[], "f-4", Some("f-1"));
        check(&["f-1", "f-3"], &["f-3"], "f-4", Some("f-1"));
        check(&["f-1"], &[], "f-1", None);
        check(&[], &[], "f-4", None);
    }

    #[test]
    fn traffic_that_is_split_is_nobodys() {
        assert_eq!(service(&[("f-1", 100, None), ("f-2", 0, Some("x"))], &[]).serving().unwrap(), "f-1");
        let split = service(&[("f-1", 90, None), ("f-2", 10, None)], &[]);
        assert!(split.serving().is_err());
        assert_eq!(split.leading().unwrap(), "f-1");
        assert!(service(&[], &[]).serving().is_err());
    }
}
