//! The definitions of CI, as far as they can be wrong without anybody noticing.

use std::path::{Path, PathBuf};

/// A file of this project.
fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// Everything that runs in CI: workflows, actions, Cloud Build.
fn everything() -> Vec<(PathBuf, String)> {
    let mut all = definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github"));
    for path in ["infra/cloudbuild.yaml", ".ci/run"] {
        all.push((path.into(), text(path)));
    }
    all
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

fn definitions(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(definitions(&path));
        } else if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

#[test]
fn every_action_of_others_is_pinned_by_commit() {
    let definitions = definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github"));
    let mut actions = 0;
    for (path, text) in &definitions {
        for line in text.lines() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            if action.starts_with("./") {
                continue;
            }
            let (_, version) = action.split_once('@').unwrap();
            let commit = version.split(' ').next().unwrap();
            assert!(is_hexadecimal(commit, 40) && version.contains(" # v"), "{}: {line}", path.display());
            actions += 1;
        }
    }
    assert!(actions > 0, "no action was found");
}

#[test]
fn every_image_of_others_is_pinned_by_digest() {
    #[track_caller]
    fn check(images: &[&str]) {
        assert!(!images.is_empty(), "no image was found");
        for image in images {
            let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
            assert!(digest.is_some_and(|digest| is_hexadecimal(digest, 64)), "{image}");
        }
    }
    let build = text("infra/cloudbuild.yaml");
    let named = |key: &'static str| build.lines().filter_map(move |line| line.trim().strip_prefix(key));
    // Those of steps, and that which steps start themselves. Volumes have names, too.
    let steps = named("name: ").filter(|name| name.contains(['/', ':']));
    let of_steps: Vec<_> = steps.chain(named("- name: ").filter(|name| name.contains(['/', ':']))).collect();
    assert_eq!(of_steps.len(), build.matches("\n    entrypoint: ").count());
    check(&of_steps);
    check(&named("- RUST=").collect::<Vec<_>>());
    assert_eq!(build.matches("docker run").count(), build.matches("\"$$RUST\"").count());

    let dockerfile = text("infra/Dockerfile");
    let froms = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    let froms: Vec<_> = froms.map(|from| from.split(' ').next().unwrap()).collect();
    let stages: Vec<_> = dockerfile.lines().filter_map(|line| Some(line.split_once(" AS ")?.1)).collect();
    let of_others = froms.iter().filter(|from| **from != "scratch" && !stages.contains(*from));
    check(&of_others.copied().collect::<Vec<_>>());
}

#[test]
fn what_is_delivered_is_what_was_committed() {
    let mut calls = 0;
    for (path, text) in everything() {
        for line in text.lines().filter(|line| !line.trim().starts_with('#')) {
            for (at, _) in line.match_indices("scripts/ops affected ") {
                let call = line[at..].split([';', '|', '>']).next().unwrap();
                assert!(call.contains(" --committed"), "{}: {line}", path.display());
                calls += 1;
            }
        }
    }
    assert!(calls >= 3, "scripts/ops affected was found only {calls} times");
}

#[test]
fn a_lock_file_that_is_missing_is_an_error() {
    for (path, text) in everything() {
        assert!(!text.contains("allow-no-lockfiles"), "{}", path.display());
    }
}

#[test]
fn a_deployment_can_tell_whether_its_commit_is_older() {
    // What serves is looked for in the history of the checkout.
    let workflow = text(".github/workflows/deliver.yml");
    let (_, job) = workflow.split_once("\n  deploy:\n").unwrap();
    assert!(job.contains("fetch-depth: 0"), "{job}");
    let build = text("infra/cloudbuild.yaml");
    let whole = build.find("git fetch --quiet --unshallow").unwrap();
    assert!(whole < build.find("/delivery/ops deploy").unwrap());
    for (path, text) in everything() {
        assert!(!text.contains("--older"), "{}", path.display());
    }
}

/// The jobs of all workflows, by the name of the file and their own.
fn jobs() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/workflows")) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let (_, jobs) = text.split_once("\njobs:\n").unwrap();
        let mut job: Option<(String, String)> = None;
        for line in jobs.lines() {
            let name =
                line.strip_prefix("  ").filter(|rest| rest.starts_with(|it: char| it.is_ascii_lowercase()));
            if let Some(name) = name.and_then(|name| name.strip_suffix(':')) {
                found.extend(job.replace((format!("{file} {name}"), String::new())));
            } else if let Some((_, text)) = &mut job {
                *text += line;
                text.push('\n');
            }
        }
        found.extend(job);
    }
    found
}

#[test]
fn only_the_deployment_and_the_reader_of_bills_get_an_identity() {
    for (path, text) in definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.github/workflows")) {
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{}", path.display());
        assert!(!text.contains(": write-all") && !text.contains("contents: write"), "{}", path.display());
    }
    let jobs = jobs();
    let with_identity: Vec<_> = jobs.iter().filter(|(_, job)| job.contains("id-token: write")).collect();
    let names: Vec<_> = with_identity.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for (name, environment) in [("deliver.yml deploy", "production"), ("scan.yml bills", "scan")] {
        let (_, job) = with_identity.iter().find(|(found, _)| found == name).unwrap();
        assert!(job.contains(&format!("\n    environment: {environment}\n")), "{name}");
    }
}

#[test]
fn nothing_is_compiled_where_an_identity_is() {
    for (name, job) in jobs().iter().filter(|(_, job)| job.contains("id-token: write")) {
        // scripts/ops compiles itself, and with it run the build scripts of its dependencies.
        for compiles in ["actions/rust", "cargo ", "scripts/ops", "npm ", "pip "] {
            assert!(!job.contains(compiles), "{name}: {compiles}");
        }
    }
}

#[test]
fn only_the_deployment_waits_for_another_commits() {
    let workflow = text(".github/workflows/deliver.yml");
    let (head, jobs_of_it) = workflow.split_once("\njobs:\n").unwrap();
    assert!(head.contains("github.run_id"), "tests of one commit wait for the deployment of another");
    assert_eq!(jobs_of_it.matches("concurrency:").count(), 1);
    let (_, deploy) = jobs().into_iter().find(|(name, _)| name == "deliver.yml deploy").unwrap();
    assert!(deploy.contains("concurrency:") && deploy.contains("cancel-in-progress: false"), "{deploy}");
}

#[test]
fn a_build_has_time_for_all_its_steps_and_deploys_after_those_before_it() {
    let build = text("infra/cloudbuild.yaml");
    let seconds =
        |line: &str| Some(line.split_once("timeout: ")?.1.strip_suffix('s')?.parse::<u32>().unwrap());
    let (of_steps, whole): (Vec<_>, Vec<_>) = build.lines().partition(|line| line.starts_with(' '));
    let steps: Vec<_> = of_steps.into_iter().filter_map(seconds).collect();
    let whole: u32 = whole.into_iter().filter_map(seconds).sum();
    assert_eq!(steps.len(), build.matches("\n  - id: ").count(), "a step has no limit");
    assert!(steps.iter().sum::<u32>() <= whole, "{steps:?} do not fit into {whole} s");
    let at = |step: &str| build.find(&format!("\n  - id: {step}\n")).unwrap();
    assert!(at("turn") < at("deploy") && at("bills") < at("turn"));
    let limit = |step: &str| build[at(step)..].lines().find_map(seconds).unwrap();
    let rest: u32 = ["images", "scan", "bills", "deploy"].map(limit).iter().sum();
    assert!(limit("turn") >= rest, "a build gives up while the one before it has not ended");
}
