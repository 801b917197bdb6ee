//! All SQL against a real Postgres; every test has a database of its own.

mod calendars;
mod circuit_breaker;
mod contact_groups;
mod contacts;
mod meetings;
mod migrations;
mod plans;
mod retention;
mod schedule;
mod sync_locks;
mod tokens;
