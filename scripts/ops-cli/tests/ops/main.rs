//! The operator's command line, run as a person runs it.

mod affected;
mod arguments;
mod delivery;
mod entry;
mod history;
mod messages;
mod new_function;
mod output;
mod pages;
mod programs;
mod shell;
