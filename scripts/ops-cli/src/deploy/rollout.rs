//! The deployment of one function, step by step.

use std::fmt::{self, Display};

use anyhow::Context as _;

use super::build::{Build, Wanted};
use super::harmless_task::{self, TrialResult};
use crate::canary::{Health, Watch};
use crate::dead_letters::left_behind;
use crate::gcloud::Gcloud;
use crate::service::{ALL, Service};

/// What is to be deployed, and in place of what.
pub(super) struct Rollout {
    service: Service,
    build: Build,
    /// What serves, and gets the tasks back if the new revision fails.
    before: String,
    /// An interrupted or inconclusive deployment continues with its share.
    is_new: bool,
    /// The function had nothing to do lately: no share of its tasks would show anything.
    pub(super) is_idle: bool,
    watch: Watch,
    canary: u32,
}

impl Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} will replace {}", self.build.image, self.before)
    }
}

impl Rollout {
    /// Reads what is there; `None` if the function serves the image already.
    pub(super) fn plan(
        gcloud: &Gcloud,
        function: &str,
        wanted: &Wanted,
        watch: &Watch,
        canary: u32,
    ) -> anyhow::Result<Option<Self>> {
        let service = Service::read(gcloud, function)?;
        let build = wanted.build(function, &service)?;
        let unfinished = service.unfinished(&build.tag);
        let is_new = unfinished.is_none();
        let before = unfinished.map_or_else(|| service.serving(), Ok)?.to_owned();
        if wanted.is_of_checkout() {
            // What was set anew needs --redeploy.
            if is_new && build.is_what_runs(&service, &before) {
                return Ok(None);
            }
            wanted.ensure_newer(&service, &before)?;
        }
        let is_idle = watch.finds_idle(gcloud, function)?;
        Ok(Some(Self { service, build, before, is_new, is_idle, watch: watch.clone(), canary }))
    }

    pub(super) fn function(&self) -> &str {
        &self.service.function
    }

    /// Deploys, and returns the health of the new revision with its name; rolls it back when it fails.
    pub(super) fn run(&self, gcloud: &Gcloud) -> anyhow::Result<(Health, String)> {
        let service = if self.is_new {
            self.service.add(gcloud, &self.build.image, &self.build.tag)?
        } else {
            Service::read(gcloud, self.function())?
        };
        if gcloud.is_dry_run() {
            for percent in self.steps() {
                service.give(gcloud, "<new>", percent, &self.before)?;
            }
            return Ok((Health::Healthy, "<new>".to_owned()));
        }
        let tag = &self.build.tag;
        let new = service
            .tagged(tag)
            .with_context(|| format!("no revision of {} has the tag {tag}", self.function()))?;
        let health = self.try_and_shift(gcloud, &service, new)?;
        Ok((health, new.to_owned()))
    }

    /// The percentages that the new revision gets, one after the other.
    fn steps(&self) -> impl Iterator<Item = u32> {
        let share = (self.canary < ALL && !self.is_idle).then_some(self.canary);
        share.into_iter().chain([ALL])
    }

    fn try_and_shift(&self, gcloud: &Gcloud, service: &Service, new: &str) -> anyhow::Result<Health> {
        match harmless_task::run(gcloud, service, new) {
            Ok(TrialResult::Passed) => eprintln!("{new} ran the harmless task"),
            Ok(TrialResult::Failed(why)) => {
                eprintln!("{new} is unhealthy: {why}");
                self.roll_back(gcloud, service, new)?;
                return Ok(Health::Unhealthy);
            }
            Err(error) => {
                eprintln!("{new} cannot be tried");
                self.roll_back(gcloud, service, new)?;
                return Err(error);
            }
        }
        let given = if self.is_new { 0 } else { service.percent(new) };
        self.shift(gcloud, service, new, given)
    }

    /// Moves the tasks to the new revision, from `given` percent on, returns its health, and rolls it back when it fails.
    /// If another command moves the traffic meanwhile, nothing is changed.
    fn shift(&self, gcloud: &Gcloud, service: &Service, new: &str, mut given: u32) -> anyhow::Result<Health> {
        let read_untouched = |given| {
            let service = service.read_again(gcloud)?;
            service.expect(new, given, &self.before).map(|()| service)
        };
        let mut service = read_untouched(given)?;
        for percent in self.steps() {
            let health = service.give(gcloud, new, percent, &self.before).and_then(|()| {
                given = percent;
                if self.is_idle {
                    return Ok(Health::Healthy);
                }
                self.watch.run(gcloud, self.function(), new, || read_untouched(given).map(drop))
            });
            service = read_untouched(given)?;
            match health {
                Ok(Health::Healthy) => {}
                Ok(Health::Inconclusive) => {
                    self.leave(new, percent);
                    return health;
                }
                Ok(Health::Unhealthy) => {
                    eprintln!("{new} is unhealthy");
                    self.roll_back(gcloud, &service, new)?;
                    return health;
                }
                Err(error) => {
                    eprintln!("{new} cannot be watched");
                    self.roll_back(gcloud, &service, new)?;
                    return Err(error);
                }
            }
        }
        Ok(Health::Healthy)
    }

    fn roll_back(&self, gcloud: &Gcloud, service: &Service, new: &str) -> anyhow::Result<()> {
        eprintln!("rolling back to {}", self.before);
        service.return_to(gcloud, &self.before)?;
        left_behind::print(gcloud, service, new);
        Ok(())
    }

    /// Prints what the operator must decide.
    fn leave(&self, new: &str, percent: u32) {
        let function = self.function();
        let next = if percent == ALL {
            format!("has all traffic now: see its log; `scripts/ops rollback {function}` rolls it back")
        } else {
            format!(
                "keeps {percent} % of the traffic. The same command continues to watch it; `scripts/ops rollback {function}` ends it"
            )
        };
        eprintln!("inconclusive: {new} failed the few tasks that it got, and {next}");
    }
}
