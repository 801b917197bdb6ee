//! Writes what is made from the code into the pages that show it. The endings are seen in processes of `acting`, which
//! `cargo build --package tests --bins` builds. They are played twice: where a machine is so busy that something else happens
//! than a row is about, no row is written.

use std::fs::{read_to_string, write};
use std::process::ExitCode;

use tests::document::{ENDINGS, VARIABLES, with_endings, with_variables};
use tests::endings::endings;

#[tokio::main]
async fn main() -> std::io::Result<ExitCode> {
    write(VARIABLES, with_variables(&read_to_string(VARIABLES)?))?;
    let page = read_to_string(ENDINGS)?;
    let (once, again) = (with_endings(&page, &endings().await), with_endings(&page, &endings().await));
    let differing: Vec<_> = once.lines().zip(again.lines()).filter(|(one, other)| one != other).collect();
    if differing.is_empty() {
        write(ENDINGS, once)?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{ENDINGS} is left as it is: these rows differ when they are played twice");
    for (one, other) in differing {
        eprintln!("{one}\n{other}\n");
    }
    Ok(ExitCode::FAILURE)
}
