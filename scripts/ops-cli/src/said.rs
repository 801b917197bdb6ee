//! What every command says in the same words.

use std::process::ExitCode;

use crate::FAILURE;
use crate::operations::{Asked, Listed};

/// Names the sources that did not say what they were asked; then the command has failed: what is shown is not all.
pub(crate) fn sources(sources: &[Asked]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for Asked { source, problem, .. } in sources {
        if let Some(problem) = problem {
            eprintln!("not known from {source}: {problem}");
            code = ExitCode::from(FAILURE);
        }
    }
    code
}

/// Says that a list is empty, and of what, or that there is more.
pub(crate) fn extent<T>(listed: &Listed<T>, what: &str) {
    if listed.items.is_empty() {
        eprintln!("no {what}");
    } else if listed.is_cut {
        eprintln!("the first {} {what}; there are more: --limit N shows N", listed.items.len());
    }
}

/// Which of them are meant, in words: ` with key …, since …`, or nothing when all are.
pub(crate) fn conditions(words: impl Iterator<Item = String>) -> String {
    let words: Vec<_> = words.collect();
    if words.is_empty() { String::new() } else { format!(" with {}", words.join(", ")) }
}
