//! Documentation that is made from the code, and checked against it.

use std::fmt::Write;

use shared::config::{Variable, variables};

/// The page that has the table.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/README.md");

const BEGIN: &str = "<!-- variables: made by `cargo run --package tests --bin document` -->\n";
const END: &str = "<!-- end of variables -->\n";

/// `page` with the table of the variables as they are declared.
#[must_use]
pub fn with_variables(page: &str) -> String {
    let (head, rest) = page.split_once(BEGIN).expect("the page has the mark before the table");
    let (_, tail) = rest.split_once(END).expect("the page has the mark after the table");
    let mut table = "| variable | what | form | default |\n|---|---|---|---|\n".to_owned();
    for variable in variables::ALL {
        let default = variable.default.map(|value| format!("`{value}`")).unwrap_or_default();
        let Variable { name, what, form, .. } = variable;
        let _infallible = writeln!(table, "| `{name}` | {what} | {form} | {default} |");
    }
    format!("{head}{BEGIN}{table}{END}{tail}")
}
