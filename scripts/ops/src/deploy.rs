//! `ops deploy`: a new build of one function, first for a share of its tasks, then for all; taken back when it fails.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::NOT_RIGHT;
use crate::canary::Watch;
use crate::gcloud::{Gcloud, Place};
use crate::repository::Repository;
use crate::service::Service;

/// Characters of a commit or digest in a tag.
const SHORT: usize = 12;
const DIGEST: &str = "sha256:";

/// Deploy one function: with a share of its tasks first, and back by itself when they fail.
#[derive(Args)]
pub(crate) struct Deploy {
    /// Name of the function.
    function: String,
    /// What to deploy: a digest (sha256:…) in the registry, or a whole image reference [default: the image of this commit].
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Where images are: HOST/PROJECT/REPOSITORY.
    #[arg(long, env = "IMAGE_REGISTRY", value_name = "REGISTRY")]
    registry: Option<String>,
    /// Percentage of the tasks that it gets at first; 100 leaves the first step out.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: u32,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    place: Place,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Show what would be changed, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Deploy {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let function = self.function.as_str();
        let repository = Repository::here()?;
        ensure!(repository.functions()?.contains(function), "there is no function {function}");
        let (image, tag) = self.image(&repository)?;
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let service = Service::read(&gcloud, function)?;
        let before = service.serving()?.to_owned();
        eprintln!("{function} in {}: {before} serves; {image} is to replace it", self.place.project);
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(NOT_RIGHT));
        }

        let (region, image, to_tag) =
            (format!("--region={}", self.place.region), format!("--image={image}"), format!("--tag={tag}"));
        gcloud.change(&["run", "services", "update", function, &region, &image, &to_tag, "--no-traffic"])?;
        if self.dry_run {
            service.share(&gcloud, "<new>", self.canary)?;
            service.promote(&gcloud, "<new>")?;
            return Ok(ExitCode::SUCCESS);
        }
        // The serving revision stays as it was read: from here on traffic is split.
        let service = Service::read(&gcloud, function)?;
        let new =
            service.tagged(&tag).with_context(|| format!("no revision of {function} has the tag {tag}"))?;
        match self.shift(&gcloud, &service, new) {
            Ok(true) => {
                println!("{new}");
                Ok(ExitCode::SUCCESS)
            }
            Ok(false) => {
                eprintln!("{new} fails: back to {before}");
                service.return_to(&gcloud, &before, new)?;
                Ok(ExitCode::from(NOT_RIGHT))
            }
            Err(error) => {
                eprintln!("{new} cannot be watched: back to {before}");
                service.return_to(&gcloud, &before, new)?;
                Err(error)
            }
        }
    }

    /// Moves the tasks over; answers whether the new revision may stay.
    fn shift(&self, gcloud: &Gcloud, service: &Service, new: &str) -> anyhow::Result<bool> {
        if self.canary < 100 {
            service.share(gcloud, new, self.canary)?;
            if !self.watch.run(gcloud, &self.function, new)? {
                return Ok(false);
            }
        }
        service.promote(gcloud, new)?;
        self.watch.run(gcloud, &self.function, new)
    }

    /// The image and the tag of its revision.
    fn image(&self, repository: &Repository) -> anyhow::Result<(String, String)> {
        let registry = || {
            let registry = self.registry.as_deref().context("say --registry, or set IMAGE_REGISTRY")?;
            Ok::<_, anyhow::Error>(format!("{registry}/{}", self.function))
        };
        match &self.image {
            None => {
                let commit = repository.git(&["rev-parse", "HEAD"])?;
                Ok((format!("{}:{}", registry()?, commit.trim()), tag(commit.trim())))
            }
            Some(digest) if digest.starts_with(DIGEST) => {
                Ok((format!("{}@{digest}", registry()?), tag(digest.trim_start_matches(DIGEST))))
            }
            Some(image) => match image.rsplit_once(['@', ':']) {
                Some((_, version)) if image.contains('/') && !version.contains('/') => {
                    Ok((image.clone(), tag(version)))
                }
                _ => bail!("{image} is neither a digest nor an image with a tag or a digest"),
            },
        }
    }
}

/// Tags are made of lower-case letters, digits and hyphens.
fn tag(version: &str) -> String {
    let allowed = version.chars().filter(char::is_ascii_alphanumeric).take(SHORT);
    format!("rev-{}", allowed.collect::<String>().to_ascii_lowercase())
}

/// Asks the person; without one, the answer is an error.
pub(crate) fn confirmed() -> anyhow::Result<bool> {
    ensure!(std::io::stdin().is_terminal(), "nobody is there to ask: say --yes");
    eprint!("Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
