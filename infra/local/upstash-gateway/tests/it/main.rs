//! The gateway in this process, a private Redis behind it, raw HTTP in front of it.

mod auth;
mod billing;
mod conditional;
mod eviction;
mod failover;
mod formats;
mod forms;
mod http;
mod kit;
mod limits;
mod outage;
mod program;
mod quota;
mod redis_server;
mod replica_lag;
mod scripts;
mod streams;
mod transactions;
