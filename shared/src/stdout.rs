//! Standard output of command-line programs.

use std::io::ErrorKind;
use std::panic::{set_hook, take_hook};
use std::process::exit;

/// What a shell shows for a program that SIGPIPE ended.
pub const EXIT_WITHOUT_READER: u8 = 141;

/// From now on, printing to a pipe that no process reads any more (`| head`) ends the program quietly, as it ends other Unix
/// programs. Rust ignores SIGPIPE, and `println!` panics instead.
pub fn end_with_its_reader() {
    let usual = take_hook();
    set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            exit(EXIT_WITHOUT_READER.into());
        }
        usual(panic);
    }));
}

/// Whether an error of `write!` to standard output says the same.
#[must_use]
pub fn has_no_reader(error: &anyhow::Error) -> bool {
    // What is written elsewhere says in its error where that was.
    error.chain().count() == 1
        && error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
