//! `ops image`: images of functions, without a Docker daemon.

mod bill;
mod digest;
mod layer;
pub(crate) mod layout;
mod recipe;
mod roots;
mod trial;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::digest::Digest;
use self::layer::Layer;
use self::layout::Written;
use self::recipe::{Copied, Recipe};
use crate::FAILURE;
use crate::repository::Repository;
use crate::usage_error::UsageError;

/// Maximum size of an image, unpacked.
const LIMIT_BYTES: usize = 12_000_000;
const BYTES_PER_MB: f64 = 1e6;
/// Builds the program of one function.
const BUILDER: &str = "infra/images/program";

/// Make images of functions, as OCI layouts, with their bills of materials.
///
/// Each is OUT/FUNCTION (for `skopeo copy oci:…`, `crane push`, `podman load`) and OUT/FUNCTION.cdx.json.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub(crate) struct Image {
    /// Names of folders under functions/.
    #[arg(required_unless_present_any = ["all", "renew_roots"])]
    functions: Vec<String>,
    /// All functions.
    #[arg(long, conflicts_with = "functions")]
    all: bool,
    /// Only images of the release profile have the same digest wherever the toolchain is the same, and at most 12 MB.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Folder for the images; by default, images/PROFILE in cargo's target folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the images as JSON.
    #[arg(long)]
    json: bool,
    /// Run the local cloud once, with the file system of each image as the root of its function, and check the result.
    #[arg(long)]
    check: bool,
    /// With --check: use the images that were made before instead of making them.
    #[arg(long, requires = "check")]
    made: bool,
    /// With --check: options of scripts/up.
    #[arg(last = true, requires = "check")]
    up: Vec<String>,
    /// Make no image; write the CA roots of the images, from the locked copy of Mozilla's.
    #[arg(long, exclusive = true)]
    renew_roots: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// As deployed.
    Release,
    /// For tests: quick to build, large.
    Dev,
}

/// One image.
#[derive(Serialize)]
struct Made {
    function: String,
    revision: String,
    #[serde(flatten)]
    written: Written,
    layout: PathBuf,
    bill: PathBuf,
}

impl Image {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let repository = Repository::here()?;
        if self.renew_roots {
            fs::write(repository.root().join(roots::PATH), roots::bundle())
                .context("cannot write the roots")?;
            return Ok(ExitCode::SUCCESS);
        }
        ensure!(
            cfg!(target_os = "linux"),
            "images are made on Linux; elsewhere use Docker, as described in infra/Dockerfile"
        );
        let functions = self.chosen(&repository)?;
        let out = self.out.clone().unwrap_or_else(|| {
            let folder = repository.target().join("images");
            folder.join(self.profile.name())
        });
        if self.check {
            trial::ensure_usable(&repository, &self.up)?;
        }
        let mut succeeded = self.made || self.make(&repository, &functions, &out)?;
        if self.check {
            let images: Vec<_> = functions.into_iter().map(|name| (name.clone(), out.join(name))).collect();
            succeeded &= trial::passes(&repository, &images, &self.up)?;
        }
        Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
    }

    /// Makes the images and prints them. Returns whether they are small enough.
    fn make(&self, repository: &Repository, functions: &[String], out: &Path) -> anyhow::Result<bool> {
        let workshop = Workshop::open(repository, self.profile, out)?;
        let mut images = Vec::new();
        for function in functions {
            eprintln!("making the image of {function}");
            images.push(workshop.make(function).with_context(|| format!("the image of {function}"))?);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&images)?);
        } else {
            images.iter().for_each(Made::print);
        }
        let is_large = |image: &&Made| image.written.unpacked_bytes > LIMIT_BYTES;
        let large: Vec<_> = images.iter().filter(is_large).map(|image| image.function.as_str()).collect();
        if self.profile == Profile::Dev || large.is_empty() {
            return Ok(true);
        }
        eprintln!("larger than {:.0} MB: {}", megabytes(LIMIT_BYTES), large.join(", "));
        Ok(false)
    }

    fn chosen(&self, repository: &Repository) -> anyhow::Result<Vec<String>> {
        let all = repository.functions()?;
        for function in &self.functions {
            if !all.contains(function) {
                bail!(UsageError(format!("there is no function {function}")));
            }
        }
        Ok(if self.all { all.into_iter().collect() } else { self.functions.clone() })
    }
}

impl Profile {
    /// Cargo's name of it.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }
}

impl Made {
    fn print(&self) {
        let Written { digest, compressed_bytes, unpacked_bytes } = &self.written;
        println!(
            "{:<24} {digest}  {:>5.2} MB, {:>5.2} MB compressed",
            self.function,
            megabytes(*unpacked_bytes),
            megabytes(*compressed_bytes),
        );
    }
}

/// What all images of one run have in common.
struct Workshop<'a> {
    root: &'a Path,
    dockerfile: String,
    revision: String,
    created: String,
    profile: Profile,
    out: &'a Path,
}

impl<'a> Workshop<'a> {
    fn open(repository: &'a Repository, profile: Profile, out: &'a Path) -> anyhow::Result<Self> {
        let root = repository.root();
        let mut revision = repository.git(&["rev-parse", "HEAD"])?.trim_end().to_owned();
        if !repository.git(&["status", "--porcelain"])?.is_empty() {
            eprintln!("the working tree has uncommitted changes: the images are named -dirty");
            revision.push_str("-dirty");
        }
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
        Ok(Self {
            root,
            dockerfile: fs::read_to_string(root.join("infra/Dockerfile")).context("no Dockerfile")?,
            revision,
            created: repository.git(&["log", "-1", "--format=%cI"])?.trim_end().to_owned(),
            profile,
            out,
        })
    }

    fn make(&self, function: &str) -> anyhow::Result<Made> {
        let work = tempfile::tempdir().context("cannot create a folder")?;
        let program = work.path().join("program");
        let builder = Command::new(self.root.join(BUILDER))
            .args([function, self.profile.name()])
            .arg(&program)
            .status()
            .with_context(|| format!("cannot run {BUILDER}"))?;
        ensure!(builder.success(), "the build failed");

        let recipe = Recipe::read(&self.dockerfile, &BTreeMap::from([("FUNCTION", function.to_owned())]))?;
        let layer = |copied: &Copied| match copied {
            Copied::Folder(folder) => Layer::of_folder(&self.root.join(folder)),
            Copied::Program(path) => Layer::of_program(&program, path),
        };
        let layers = recipe.copies.iter().map(layer).collect::<Result<Vec<_>, _>>()?;
        let layout = self.out.join(function);
        let written = layout::write(&layout, &self.revision, &recipe, &layers)?;
        let bill = self.out.join(format!("{function}.cdx.json"));
        let sum = Digest::of(&fs::read(&program)?);
        fs::write(&bill, bill::of(self.root, function, sum.hex()?, &self.created)?)?;
        Ok(Made { function: function.to_owned(), revision: self.revision.clone(), written, layout, bill })
    }
}

#[expect(clippy::cast_precision_loss, reason = "the number is only displayed")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / BYTES_PER_MB
}
