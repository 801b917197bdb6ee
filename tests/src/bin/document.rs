//! Writes what is made from the code into the pages that show it.

use tests::document::{PAGE, with_variables};

fn main() -> std::io::Result<()> {
    std::fs::write(PAGE, with_variables(&std::fs::read_to_string(PAGE)?))
}
