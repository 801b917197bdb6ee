//! `ops new-function`: a queue with its function, wherever a queue has a place in this repository.
//!
//! All edits are made in memory first. What cannot be written, or is refused by cargo, is undone.

mod edits;
mod name;
mod places;

use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::program;
use crate::repository::Repository;
use edits::Edits;
use name::Name;

const CARGO_LOCK: &str = "Cargo.lock";
const PAYLOADS: &str = "shared/catchup/src/payload.rs";
const QUEUES: &str = "shared/catchup/src/queues.rs";

/// Files of a function, and of one with a sweep where they differ.
const MANIFEST: &str = include_str!("new_function/templates/Cargo.toml.tmpl");
const MAIN: &str = include_str!("new_function/templates/main.rs.tmpl");
const TEST: &str = include_str!("new_function/templates/test.rs.tmpl");
const PLAIN: Templates = Templates {
    declaration: include_str!("new_function/templates/queue.json.tmpl"),
    payload: include_str!("new_function/templates/payload.rs.tmpl"),
    fixture: include_str!("new_function/templates/fixture.json.tmpl"),
    job: include_str!("new_function/templates/lib.rs.tmpl"),
    more_tests: "",
};
const SWEEP: Templates = Templates {
    declaration: include_str!("new_function/templates/queue_sweep.json.tmpl"),
    payload: include_str!("new_function/templates/payload_sweep.rs.tmpl"),
    fixture: include_str!("new_function/templates/fixture_sweep.json.tmpl"),
    job: include_str!("new_function/templates/lib_sweep.rs.tmpl"),
    more_tests: include_str!("new_function/templates/test_sweep.rs.tmpl"),
};

/// Make a queue and its function: declaration, payload, package with a test, rights and load.
#[derive(Args)]
pub(crate) struct NewFunction {
    /// Name of the queue, its function and its service: lower-case words with hyphens, such as calendar-sync.
    name: String,
    /// Let a daily sweep create one task per user.
    #[arg(long)]
    sweep: bool,
}

struct Templates {
    declaration: &'static str,
    payload: &'static str,
    fixture: &'static str,
    job: &'static str,
    more_tests: &'static str,
}

impl Templates {
    fn all(&self) -> [&'static str; 7] {
        [MANIFEST, MAIN, TEST, self.payload, self.fixture, self.job, self.more_tests]
    }
}

impl NewFunction {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let repository = Repository::here()?;
        let edits = self.edits(&repository)?;
        edits.apply(|| lock(&repository))?;
        for (verb, path) in edits.paths() {
            println!("{verb:<8}{path}");
        }
        println!("{:<8}{CARGO_LOCK}", "changed");
        println!("\nNext: .github/CONTRIBUTING.md, \"A new queue\", says what to fill in, in which order.");
        Ok(ExitCode::SUCCESS)
    }

    fn edits(&self, repository: &Repository) -> anyhow::Result<Edits> {
        let templates = if self.sweep { SWEEP } else { PLAIN };
        let name = Name::parse(&self.name)?;
        name.check_packages(&repository.current(CARGO_LOCK)?)?;
        name.check_identifiers(&repository.current(QUEUES)?, [name.constant()])?;
        name.check_identifiers(&repository.current(PAYLOADS)?, [name.camel(), name.module()])?;
        for template in templates.all() {
            name.check_identifiers(template, [name.camel(), name.module()])?;
        }

        let (kebab, module) = (name.kebab(), name.module());
        let mut edits = Edits::new(repository.root());
        edits.change("infra/queues.json", |text| {
            places::with_entry(text, "queues", &name, name.fill(templates.declaration).trim_end())
        })?;
        edits.change(QUEUES, |text| places::with_constant(text, &name))?;
        edits.change(PAYLOADS, |text| places::with_payload(text, &name))?;
        edits.create(&format!("shared/catchup/src/payload/{module}.rs"), name.fill(templates.payload))?;
        edits.create(&format!("tests/fixtures/payloads/{kebab}/v1.json"), name.fill(templates.fixture))?;
        edits.create(&format!("functions/{kebab}/Cargo.toml"), name.fill(MANIFEST))?;
        edits.create(&format!("functions/{kebab}/src/main.rs"), name.fill(MAIN))?;
        edits.create(&format!("functions/{kebab}/src/lib.rs"), name.fill(templates.job))?;
        let test = name.fill(TEST) + &name.fill(templates.more_tests);
        edits.create(&format!("functions/{kebab}/tests/job.rs"), test)?;
        edits.change("infra/gcp/functions.json", |text| {
            places::with_entry(text, "functions", &name, &places::needs(&name))
        })?;
        edits.change("infra/cost.json", |text| {
            places::with_entry(text, "functions", &name, &places::load(&name))
        })?;
        Ok(edits)
    }
}

/// Adds the package to `Cargo.lock`; all that it depends on is there.
fn lock(repository: &Repository) -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["update", "--workspace", "--offline", "--quiet"]).current_dir(repository.root());
    program::output(&mut cargo).context("the package cannot be added to Cargo.lock")?;
    Ok(())
}
