//! Documentation that is made from the code, and checked against it.

use std::fmt::Write;

use catchup::queues::DECLARATION;
use shared::config::{Variable, variables};

use crate::endings::{Ending, table};

/// The page that has the table of the variables.
pub const VARIABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/README.md");
/// The page that has the table of the endings.
pub const ENDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/docs/architecture.md");

/// `page` with the table of the variables as they are declared.
#[must_use]
pub fn with_variables(page: &str) -> String {
    let mut table = "| variable | what | form | default |\n|---|---|---|---|\n".to_owned();
    for variable in variables::ALL.iter().chain(DECLARATION.variables) {
        let default = variable.default.map(|value| format!("`{value}`")).unwrap_or_default();
        let Variable { name, what, form, .. } = variable;
        let _infallible = writeln!(table, "| `{name}` | {what} | {form} | {default} |");
    }
    with_table(page, "variables", &table)
}

/// `page` with the table of the endings as they were seen.
#[must_use]
pub fn with_endings(page: &str, endings: &[Ending]) -> String {
    with_table(page, "endings", &table(endings))
}

/// `page` with that table between its marks.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: made by `cargo run --package tests --bin document` -->\n");
    let end = format!("<!-- end of {name} -->\n");
    let (head, rest) = page.split_once(&begin).expect("the page has the mark before the table");
    let (_, tail) = rest.split_once(&end).expect("the page has the mark after the table");
    format!("{head}{begin}{table}{end}{tail}")
}
