//! The stand-in over real HTTP: every test has its own world, time and port.

mod admin;
mod calendar;
mod faults;
mod official_rust;
mod people;
mod push;
mod site;
mod tokens;
mod world;
