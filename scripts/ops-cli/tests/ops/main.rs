//! The operator's command line, run as a person runs it.

mod affected;
mod delivery;
mod entry;
mod history;
