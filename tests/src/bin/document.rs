//! Writes what is made from the code into the pages that show it. The endings are seen in processes of `acting`, which
//! `cargo build --package tests --bins` builds.

use std::fs::{read_to_string, write};

use tests::document::{ENDINGS, VARIABLES, with_endings, with_variables};
use tests::endings::endings;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    write(VARIABLES, with_variables(&read_to_string(VARIABLES)?))?;
    write(ENDINGS, with_endings(&read_to_string(ENDINGS)?, &endings().await))
}
