//! Tokens, Calendar and People over the stand-in for Google and a real Postgres.

mod calendar;
mod people;
mod stack;
mod tokens;
