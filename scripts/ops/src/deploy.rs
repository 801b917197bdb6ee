//! `ops deploy`: a new build of one function, first for a share of its tasks, then for all; taken back when it fails.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::NOT_RIGHT;
use crate::canary::{Verdict, Watch};
use crate::gcloud::{Gcloud, Place};
use crate::repository::Repository;
use crate::service::Service;
use crate::wrong_call::WrongCall;

/// Characters of a commit or version in a tag.
const SHORT: usize = 12;
const DIGEST: &str = "sha256:";
/// The new revision keeps its share, and somebody must decide.
const UNSEEN: u8 = 3;

/// Deploy one function: with a share of its tasks first, and back by itself when they fail.
///
/// A revision that does no task while it is watched keeps its share, unless --promote-unseen. The same call goes on
/// watching it; scripts/rollback ends it.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 deployed, 1 not deployed or taken back, 2 the call itself is wrong, \
                        3 undecided: no task came by, and the new revision keeps the share it has.")]
pub(crate) struct Deploy {
    /// Name of the function.
    function: String,
    /// What to deploy: a digest (sha256:…) of this commit in the registry, or a whole image reference [default: the image
    /// of this commit]. The revision is tagged rev-<commit>, or as the whole reference.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Where images are: HOST/PROJECT/REPOSITORY.
    #[arg(long, env = "IMAGE_REGISTRY", value_name = "REGISTRY")]
    registry: Option<String>,
    /// Percentage of the tasks that it gets at first; 100 leaves the first step out.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    canary: u32,
    /// Give it all tasks although none came by to be judged: for CI, since some queues have one sweep a day.
    #[arg(long)]
    promote_unseen: bool,
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
        let is_known = repository.functions()?.contains(function);
        ensure!(is_known, WrongCall(format!("there is no function {function}")));
        let (image, tag) = self.image(&repository)?;
        let gcloud = Gcloud::new(self.place.clone(), self.dry_run);
        let service = Service::read(&gcloud, function)?;
        // One that was left undecided goes on where it was.
        let undecided = service.undecided(&tag);
        let is_new = undecided.is_none();
        let before = undecided.map_or_else(|| service.serving(), Ok)?.to_owned();
        eprintln!("{function} in {}: {before} serves; {image} is to replace it", self.place.project);
        if !self.dry_run && !self.yes && !confirmed()? {
            return Ok(ExitCode::from(NOT_RIGHT));
        }

        let (region, image, to_tag) =
            (format!("--region={}", self.place.region), format!("--image={image}"), format!("--tag={tag}"));
        if is_new {
            gcloud.change(&[
                "run",
                "services",
                "update",
                function,
                &region,
                &image,
                &to_tag,
                "--no-traffic",
            ])?;
        }
        if self.dry_run {
            service.share(&gcloud, "<new>", self.canary)?;
            service.promote(&gcloud, "<new>", &before)?;
            return Ok(ExitCode::SUCCESS);
        }
        let service = Service::read(&gcloud, function)?;
        let new =
            service.tagged(&tag).with_context(|| format!("no revision of {function} has the tag {tag}"))?;
        match self.shift(&gcloud, &service, new, &before) {
            Ok(Verdict::Good) => {
                println!("{new}");
                Ok(ExitCode::SUCCESS)
            }
            Ok(Verdict::Bad) => {
                eprintln!("{new} fails: back to {before}");
                service.return_to(&gcloud, &before)?;
                Ok(ExitCode::from(NOT_RIGHT))
            }
            Ok(Verdict::Unseen) => {
                eprintln!(
                    "undecided: {new} did no task, and keeps the share it has. Send it one (scripts/takeover {function} --check), and deploy it again; or end it with scripts/rollback {function}"
                );
                Ok(ExitCode::from(UNSEEN))
            }
            Err(error) => {
                eprintln!("{new} cannot be watched: back to {before}");
                service.return_to(&gcloud, &before)?;
                Err(error)
            }
        }
    }

    /// Moves the tasks over, and says how the new revision does them. One that was good with its share has been seen.
    fn shift(&self, gcloud: &Gcloud, service: &Service, new: &str, before: &str) -> anyhow::Result<Verdict> {
        let has_share = self.canary < 100;
        if has_share {
            service.share(gcloud, new, self.canary)?;
            match self.watch.run(gcloud, &self.function, new)? {
                Verdict::Good => {}
                Verdict::Unseen if self.promote_unseen => eprintln!("{new} did no task with its share"),
                other @ (Verdict::Bad | Verdict::Unseen) => return Ok(other),
            }
        }
        service.promote(gcloud, new, before)?;
        match self.watch.run(gcloud, &self.function, new)? {
            Verdict::Unseen if has_share || self.promote_unseen => Ok(Verdict::Good),
            verdict => Ok(verdict),
        }
    }

    /// The image and the tag of its revision.
    fn image(&self, repository: &Repository) -> anyhow::Result<(String, String)> {
        let registry = || {
            let registry = self.registry.as_deref().context("say --registry, or set IMAGE_REGISTRY")?;
            Ok::<_, anyhow::Error>(format!("{registry}/{}", self.function))
        };
        let commit = repository.git(&["rev-parse", "HEAD"])?;
        let commit = commit.trim();
        match &self.image {
            None => Ok((format!("{}:{commit}", registry()?), tag(commit))),
            Some(digest) if digest.starts_with(DIGEST) => {
                Ok((format!("{}@{digest}", registry()?), tag(commit)))
            }
            Some(image) => match image.rsplit_once(['@', ':']) {
                Some((_, version)) if image.contains('/') && !version.contains('/') => {
                    Ok((image.clone(), tag(version)))
                }
                _ => {
                    bail!(WrongCall(format!(
                        "{image} is neither a digest nor an image with a tag or a digest"
                    )))
                }
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
