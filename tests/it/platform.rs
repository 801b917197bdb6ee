//! The crate `shared` is a platform: it knows nothing of the product that runs on it. Below this module, the platform over real
//! servers: its tables, and the client, the limiter and the cache over Redis behind the gateway and over servers that
//! misbehave. They are here, and not in `shared`, so that it depends on no crate of the domain for its tests either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use shared::queue::JOBS_PATH;

mod cache;
mod client;
mod connections;
mod faulty;
mod jobs_schema;
mod limiter;
mod operators;
mod stack;

const PLATFORM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
/// The path of a task is one function, which may be long but not that long.
const MAX_PROCESS_LINES: usize = 150;
/// Words of the domain, in lower case.
const WORDS: [&str; 6] = ["catchup", "calendar", "contact", "suggestion", "twilio", "sendgrid"];

#[test]
fn no_crate_of_the_domain_is_among_the_platforms_dependencies() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package=shared", "--all-features", "--prefix=none", "--locked"])
        .current_dir(PLATFORM)
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"shared"), "{tree}");
    assert!(!names.contains(&"catchup"), "{tree}");
}

#[test]
fn no_word_of_the_domain_is_in_the_platforms_sources() {
    let files = files(&Path::new(PLATFORM).join("src"));
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let word = WORDS.iter().find(|word| line.contains(**word));
            assert_eq!(word, None, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn the_path_of_a_task_is_short_enough_to_be_read_from_top_to_bottom() {
    let text = fs::read_to_string(Path::new(PLATFORM).join("src/runtime/process.rs")).unwrap();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = text.lines().filter(is_code).count();
    assert!(lines <= MAX_PROCESS_LINES, "{lines} lines of code");
}

#[test]
fn terraform_sends_tasks_to_the_path_that_functions_serve() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/gcp/modules/queue-function/service.tf");
    let path = format!(r#""{JOBS_PATH}${{var.name}}""#);
    assert!(fs::read_to_string(file).unwrap().contains(&path), "{path}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
