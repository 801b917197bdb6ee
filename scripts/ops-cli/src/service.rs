//! A Cloud Run service: its revisions, and their shares of the traffic.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gcloud::Gcloud;

/// Tags, and with them revisions to roll back to, that a service keeps.
const KEPT_TAGS: usize = 5;
/// The percentage of a revision that serves alone.
pub(crate) const ALL: u32 = 100;
/// The label of a revision that names its service.
const SERVICE: &str = "serving.knative.dev/service";
/// Counts up with each change of the service's template.
const GENERATION: &str = "serving.knative.dev/configurationGeneration";

/// A service as gcloud last described it. A healthy revision has a tag, which makes it a target of a rollback.
pub(crate) struct Service {
    pub(crate) function: String,
    /// Where traffic goes, as the service shows it.
    traffic: Vec<Target>,
    /// The revision that the last change of its template made.
    latest: String,
    /// By name.
    revisions: BTreeMap<String, Revision>,
    /// As gcloud describes it.
    pub(crate) document: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    revision_name: String,
    #[serde(default)]
    percent: u32,
    tag: Option<String>,
    /// With a tag: under which it alone is reached.
    url: Option<String>,
}

/// A revision that serves.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    pub(crate) revision: String,
    /// Of the traffic.
    pub(crate) percent: u32,
    pub(crate) tag: Option<String>,
    pub(crate) created: String,
}

/// One deployed build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    generation: u64,
    is_ready: bool,
    /// As it was asked for.
    requested: Option<String>,
    /// By its digest, as Cloud Run resolved it.
    image: Option<String>,
    created: String,
}

#[derive(Deserialize)]
struct Described {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    traffic: Vec<Target>,
    #[serde(default)]
    latest_created_revision_name: String,
}

#[derive(Deserialize)]
struct Listed {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: RevisionStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    creation_timestamp: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RevisionStatus {
    conditions: Vec<Condition>,
    image_digest: Option<String>,
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
        let RevisionStatus { conditions, image_digest: image } = listed.status;
        let is_ready = conditions.iter().any(|it| it.kind == "Ready" && it.status == "True");
        let requested = listed.spec["containers"][0]["image"].as_str().map(str::to_owned);
        let revision = Revision {
            generation: generation.unwrap_or_default(),
            is_ready,
            requested,
            image,
            created: listed.metadata.creation_timestamp,
        };
        (listed.metadata.name, revision)
    }
}

impl Service {
    pub(crate) fn read(gcloud: &Gcloud, function: &str) -> anyhow::Result<Self> {
        let region = format!("--region={}", gcloud.place().region);
        let service = format!("--service={function}");
        // Each call takes a second or two.
        let (document, listed) = thread::scope(|scope| {
            let listing = || gcloud.read::<Vec<Listed>>(&["run", "revisions", "list", &service, &region]);
            let listing = scope.spawn(listing);
            let document = gcloud.read::<Value>(&["run", "services", "describe", function, &region]);
            (document, listing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let revisions = listed?.into_iter().map(Into::into).collect();
        Self::described(function, document?, revisions)
    }

    /// Services and revisions as the API lists those of a project.
    pub(crate) fn listed(
        services: Vec<Value>,
        revisions: Vec<Value>,
    ) -> anyhow::Result<BTreeMap<String, Self>> {
        let mut of_service: BTreeMap<String, BTreeMap<String, Revision>> = BTreeMap::new();
        for revision in revisions {
            let listed = Listed::deserialize(revision).context("cannot read the revisions of Cloud Run")?;
            let service = listed.metadata.labels.get(SERVICE).cloned().unwrap_or_default();
            of_service.entry(service).or_default().extend([listed.into()]);
        }
        let service = |document: Value| {
            let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let revisions = of_service.remove(&name).unwrap_or_default();
            Self::described(&name, document, revisions).map(|service| (name, service))
        };
        services.into_iter().map(service).collect()
    }

    /// The service as it is now, with the revisions that were known before.
    pub(crate) fn read_again(&self, gcloud: &Gcloud) -> anyhow::Result<Self> {
        let region = format!("--region={}", gcloud.place().region);
        let document = gcloud.read(&["run", "services", "describe", &self.function, &region])?;
        Self::described(&self.function, document, self.revisions.clone())
    }

    fn described(
        function: &str,
        document: Value,
        revisions: BTreeMap<String, Revision>,
    ) -> anyhow::Result<Self> {
        let Described { status } = Described::deserialize(&document)
            .with_context(|| format!("cannot read gcloud's description of {function}"))?;
        Ok(Self {
            function: function.to_owned(),
            traffic: status.traffic,
            latest: status.latest_created_revision_name,
            revisions,
            document,
        })
    }

    /// Makes a revision of an image, without traffic, and gives it a tag; the service as it is then.
    ///
    /// Not in one call: `services update --tag` writes the revision's name into the template, and Terraform, which leaves what
    /// it finds there, would be refused with 409 from then on, for a new revision of an old name.
    pub(crate) fn add(&self, gcloud: &Gcloud, image: &str, tag: &str) -> anyhow::Result<Self> {
        let (function, region) = (self.function.as_str(), format!("--region={}", gcloud.place().region));
        let to_image = format!("--image={image}");
        gcloud.change(&["run", "services", "update", function, &region, &to_image, "--no-traffic"])?;
        let service = Self::read(gcloud, function)?;
        let latest = service.revisions.get(&service.latest);
        let new = if gcloud.is_dry_run() { "<new>" } else { &service.latest };
        ensure!(
            gcloud.is_dry_run()
                || (new != self.latest && latest.is_some_and(|new| new.requested.as_deref() == Some(image))),
            "another command has changed {function} at the same time: its newest revision, {new}, is not the new one. Nothing serves it; the same command again makes another"
        );
        let to_tag = format!("--update-tags={tag}={new}");
        gcloud.change(&["run", "services", "update-traffic", function, &region, &to_tag])?;
        service.read_again(gcloud)
    }

    /// The revision that gets all traffic.
    pub(crate) fn serving(&self) -> anyhow::Result<&str> {
        let mut serving = self.traffic.iter().filter(|target| target.percent > 0);
        match (serving.next(), serving.next()) {
            (Some(target), None) if target.percent == ALL => Ok(&target.revision_name),
            (None, _) => {
                bail!("{} has no serving revision yet: deploy it with Terraform first", self.function)
            }
            _ => bail!(
                "the traffic of {} is split: another deployment is running, was interrupted, or is inconclusive. Continue it (the same scripts/ops deploy), or end it with scripts/ops rollback {}",
                self.function,
                self.function,
            ),
        }
    }

    /// The newest revision that gets traffic: all of it, or the share of a deployment that has not ended.
    pub(crate) fn newest_serving(&self) -> anyhow::Result<&str> {
        let serving = self.traffic.iter().filter(|target| target.percent > 0);
        let newest = serving.max_by_key(|target| self.generation(&target.revision_name));
        Ok(&newest.with_context(|| format!("{} has no serving revision", self.function))?.revision_name)
    }

    /// Of split traffic, the older revision that gets most: what served before the newest came.
    pub(crate) fn serving_before(&self) -> Option<&str> {
        let newest = self.newest_serving().ok()?;
        let older = self.traffic.iter().filter(|it| it.percent > 0 && it.revision_name != newest);
        Some(&older.max_by_key(|target| target.percent)?.revision_name)
    }

    /// What served before the revision with `tag` came, while that has no more than a share.
    pub(crate) fn unfinished(&self, tag: &str) -> Option<&str> {
        let newest = self.newest_serving().ok()?;
        if self.tagged(tag)? == newest { self.serving_before() } else { None }
    }

    /// What serves, the newest first.
    pub(crate) fn shares(&self) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        for target in self.traffic.iter().filter(|target| target.percent > 0) {
            let revision = &target.revision_name;
            if shares.iter().all(|share| share.revision != *revision) {
                shares.push(Share {
                    revision: revision.clone(),
                    percent: self.percent(revision),
                    tag: self.tag(revision).map(str::to_owned),
                    created: self.created(revision).to_owned(),
                });
            }
        }
        shares.sort_by_key(|share| std::cmp::Reverse(self.generation(&share.revision)));
        shares
    }

    /// Percentage of the traffic that a revision gets.
    pub(crate) fn percent(&self, revision: &str) -> u32 {
        let targets = self.traffic.iter().filter(|target| target.revision_name == revision);
        targets.map(|target| target.percent).sum()
    }

    /// Fails unless `new` gets `percent` of the traffic and `before` the rest: otherwise another command has moved it.
    pub(crate) fn expect(&self, new: &str, percent: u32, before: &str) -> anyhow::Result<()> {
        ensure!(
            self.percent(new) == percent && self.percent(before) == ALL - percent,
            "another command has moved the traffic of {}, which had {percent} % for {new} and the rest for {before}: nothing is changed",
            self.function,
        );
        Ok(())
    }

    /// Counts up with each revision; 0 for one that is not there.
    pub(crate) fn generation(&self, revision: &str) -> u64 {
        self.revisions.get(revision).map_or(0, |revision| revision.generation)
    }

    /// The image that a revision runs, by its digest.
    pub(crate) fn image(&self, revision: &str) -> anyhow::Result<&str> {
        let image = self.revisions.get(revision).and_then(|revision| revision.image.as_deref());
        image.with_context(|| format!("Cloud Run does not show the image of {revision}"))
    }

    /// The tag of a revision.
    pub(crate) fn tag(&self, revision: &str) -> Option<&str> {
        self.traffic
            .iter()
            .find(|target| target.revision_name == revision && target.tag.is_some())?
            .tag
            .as_deref()
    }

    /// The revision with a tag.
    pub(crate) fn tagged(&self, tag: &str) -> Option<&str> {
        let target = self.traffic.iter().find(|target| target.tag.as_deref() == Some(tag))?;
        Some(&target.revision_name)
    }

    /// The address under which a revision with a tag is reached without any traffic.
    pub(crate) fn tag_url(&self, revision: &str) -> Option<&str> {
        self.traffic.iter().find(|it| it.revision_name == revision && it.tag.is_some())?.url.as_deref()
    }

    /// When a revision was made.
    pub(crate) fn created(&self, revision: &str) -> &str {
        self.revisions.get(revision).map_or("", |revision| &revision.created)
    }

    /// When each revision was made that there is.
    pub(crate) fn made(&self) -> impl Iterator<Item = (DateTime<Utc>, String)> {
        self.revisions.iter().filter_map(|(name, it)| Some((it.created.parse().ok()?, name.clone())))
    }

    /// A revision with a tag that is newer than all that get traffic: its deployment was interrupted before it had a share.
    pub(crate) fn never_served(&self) -> Option<&str> {
        let serving = self.generation(self.newest_serving().ok()?);
        let (_, newest) = *self.newest_tagged().first()?;
        (self.generation(newest) > serving).then_some(newest)
    }

    /// Whether there is a revision of that name.
    pub(crate) fn has(&self, revision: &str) -> bool {
        self.revisions.contains_key(revision)
    }

    /// The target of a rollback from `revision`: what still has most of split traffic, or else the newest earlier revision
    /// that was healthy.
    pub(crate) fn before(&self, revision: &str) -> Option<&str> {
        let generation = self.revisions.get(revision)?.generation;
        let tagged = || {
            let good = self.newest_tagged().into_iter().find(|(_, name)| {
                self.revisions.get(*name).is_some_and(|it| it.is_ready && it.generation < generation)
            });
            good.map(|(_, name)| name)
        };
        self.serving_before().or_else(tagged)
    }

    /// Tag and revision, newest first.
    fn newest_tagged(&self) -> Vec<(&str, &str)> {
        let mut tagged: Vec<_> = self
            .traffic
            .iter()
            .filter_map(|target| Some((target.tag.as_deref()?, target.revision_name.as_str())))
            .collect();
        tagged.sort_by_key(|(_, name)| std::cmp::Reverse(self.generation(name)));
        tagged
    }

    /// Gives a revision a part of the traffic, and leaves the rest to `before`; or gives it all, for good.
    pub(crate) fn give(
        &self,
        gcloud: &Gcloud,
        revision: &str,
        percent: u32,
        before: &str,
    ) -> anyhow::Result<()> {
        let tags = if percent == ALL { self.tags_for_good(revision, before) } else { Vec::new() };
        self.update_traffic(gcloud, revision, percent, &tags)
    }

    /// How tags change when `revision` replaces `before`, which also gets one; the oldest are removed, and those of
    /// deployments between the two, which never got all traffic.
    fn tags_for_good(&self, revision: &str, before: &str) -> Vec<String> {
        let mut tags = Vec::new();
        if self.tag(before).is_none() {
            let suffix = before.strip_prefix(&self.function).unwrap_or(before).trim_start_matches('-');
            tags.push(format!("--update-tags=rev-{suffix}={before}"));
        }
        let (abandoned, kept): (Vec<_>, Vec<_>) = self
            .newest_tagged()
            .into_iter()
            .partition(|(_, name)| self.generation(name) > self.generation(before) && *name != revision);
        let stale = kept.into_iter().skip(KEPT_TAGS);
        tags.extend(removal(abandoned.into_iter().chain(stale)));
        tags
    }

    /// Gives `revision` all traffic, and takes the tags of all newer ones away: no rollback may target them.
    pub(crate) fn return_to(&self, gcloud: &Gcloud, revision: &str) -> anyhow::Result<()> {
        let remove = removal(self.newer_tagged(revision).into_iter());
        self.update_traffic(gcloud, revision, ALL, remove.as_slice())
    }

    fn newer_tagged(&self, revision: &str) -> Vec<(&str, &str)> {
        let mut tagged = self.newest_tagged();
        tagged.retain(|(_, name)| self.generation(name) > self.generation(revision));
        tagged
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
        // A service whose newest revision does not start is never ready, and gcloud reports that as a failure of any change.
        // What counts is where the tasks go.
        let now = self.read_again(gcloud)?;
        let goes_there = now.traffic.iter().any(|it| it.revision_name == revision && it.percent == percent);
        if !goes_there {
            return Err(error);
        }
        eprintln!("{revision} has its {percent} % nevertheless");
        Ok(())
    }
}

/// gcloud's option that removes tags, if there are any.
fn removal<'a>(tagged: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let tags: Vec<_> = tagged.map(|(tag, _)| tag).collect();
    (!tags.is_empty()).then(|| format!("--remove-tags={}", tags.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(traffic: &[(&str, u32, Option<&str>)], bad: &[&str]) -> Service {
        let target = |(name, percent, tag): &(&str, u32, Option<&str>)| Target {
            revision_name: (*name).to_owned(),
            percent: *percent,
            tag: tag.map(str::to_owned),
            url: None,
        };
        let revisions = ["f-1", "f-2", "f-3", "f-4"].into_iter().zip(1..).map(|(name, generation)| {
            let is_ready = !bad.contains(&name);
            let revision =
                Revision { generation, is_ready, requested: None, image: None, created: String::new() };
            (name.to_owned(), revision)
        });
        Service {
            function: "f".to_owned(),
            traffic: traffic.iter().map(target).collect(),
            latest: "f-4".to_owned(),
            revisions: revisions.collect(),
            document: Value::Null,
        }
    }

    #[test]
    fn rollback_targets_a_tagged_revision_that_starts() {
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
    fn split_traffic_has_no_serving_revision() {
        assert_eq!(service(&[("f-1", 100, None), ("f-2", 0, Some("x"))], &[]).serving().unwrap(), "f-1");
        assert!(service(&[("f-1", 90, None), ("f-2", 10, None)], &[]).serving().is_err());
        assert!(service(&[], &[]).serving().is_err());
    }

    #[test]
    fn expect_notices_traffic_that_another_command_moved() {
        #[track_caller]
        fn check(traffic: &[(&str, u32, Option<&str>)], percent: u32, is_expected: bool) {
            let service = service(traffic, &[]);
            assert_eq!(service.expect("f-2", percent, "f-1").is_ok(), is_expected, "{traffic:?} {percent}");
        }
        check(&[("f-1", 100, None), ("f-2", 0, Some("x"))], 0, true);
        check(&[("f-1", 90, None), ("f-2", 10, None)], 10, true);
        check(&[("f-1", 90, None), ("f-2", 0, Some("x")), ("f-2", 10, None)], 10, true);
        check(&[("f-2", 100, None)], 100, true);
        // Taken back; another's share; another share.
        check(&[("f-1", 100, None)], 10, false);
        check(&[("f-1", 100, None)], 100, false);
        check(&[("f-1", 80, None), ("f-2", 10, None), ("f-3", 10, None)], 10, false);
        check(&[("f-1", 50, None), ("f-2", 50, None)], 10, false);
    }

    #[test]
    fn a_revision_with_a_tag_that_is_newer_than_what_serves_has_never_served() {
        #[track_caller]
        fn check(traffic: &[(&str, u32, Option<&str>)], expected: Option<&str>) {
            assert_eq!(service(traffic, &[]).never_served(), expected, "{traffic:?}");
        }
        check(&[("f-2", 100, Some("two")), ("f-3", 0, Some("three")), ("f-1", 0, Some("one"))], Some("f-3"));
        check(&[("f-2", 100, None), ("f-4", 0, Some("four")), ("f-3", 0, Some("three"))], Some("f-4"));
        // One that was rolled back has no tag; one with a share serves.
        check(&[("f-2", 100, Some("two")), ("f-1", 0, Some("one"))], None);
        check(&[("f-2", 90, Some("two")), ("f-3", 10, Some("three"))], None);
        check(&[], None);
    }

    #[test]
    fn rollback_of_an_interrupted_deployment_targets_the_revision_before_it() {
        #[track_caller]
        fn check(traffic: &[(&str, u32, Option<&str>)], bad: &str, good: Option<&str>, newer: &[&str]) {
            let service = service(traffic, &[]);
            assert_eq!(service.newest_serving().unwrap(), bad);
            assert_eq!(service.before(bad), good);
            let is_split = traffic.iter().filter(|(_, percent, _)| *percent > 0).count() > 1;
            assert_eq!(service.unfinished("three"), good.filter(|_| is_split));
            if let Some(good) = good {
                let tags: Vec<_> = service.newer_tagged(good).into_iter().map(|(tag, _)| tag).collect();
                assert_eq!(tags, newer);
            }
        }
        let old = ("f-1", 0, Some("one"));
        // Between its share and the rest, whichever is the larger.
        check(&[("f-2", 90, None), ("f-3", 10, Some("three")), old], "f-3", Some("f-2"), &["three"]);
        check(&[("f-2", 20, Some("two")), ("f-3", 80, Some("three")), old], "f-3", Some("f-2"), &["three"]);
        // After it got everything.
        check(&[("f-3", 100, Some("three")), ("f-2", 0, Some("two"))], "f-3", Some("f-2"), &["three"]);
        check(&[("f-1", 100, None)], "f-1", None, &[]);
    }
}
