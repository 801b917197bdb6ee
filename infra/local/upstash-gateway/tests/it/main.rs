//! The gateway in this process, a private Redis behind it, raw HTTP in front of it.

mod auth;
mod billing;
mod conditional;
mod formats;
mod forms;
mod http;
mod kit;
mod limits;
mod outage;
mod program;
mod redis_server;
mod scripts;
mod streams;
mod transactions;
