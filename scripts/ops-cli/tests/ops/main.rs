//! The operator's command line, run as a person runs it.

mod affected;
mod arguments;
mod bulks;
mod console;
mod delivery;
mod entry;
mod errors;
mod forget;
mod history;
mod holds;
mod iap;
mod incident;
mod messages;
mod mistakes;
mod new_function;
mod numbers;
mod operator;
mod output;
mod pages;
mod programs;
mod schedules;
mod shell;
mod sizes;
mod tasks;
