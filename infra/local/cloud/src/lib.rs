//! The local cloud: everything that a function needs, on loopback, as pieces that can be composed.
//!
//! Each piece ends when it is dropped, and with this process even when nothing is dropped: a watchdog sees to that.
//! [`LocalCloud`] is one composition of them; tests make others.

mod background;
pub mod console;
pub mod consumption;
pub mod days;
pub mod environment;
pub mod functions;
mod health;
pub mod life;
pub mod once;
pub mod operator;
mod owned;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod report;
pub mod reports;
pub mod seed;
pub mod simulated_time;
mod simulation;
pub mod stack;
pub mod tasks;
pub mod verify;

pub use background::{Background, OwnRuntime};
pub use environment::Environment;
pub use functions::{FunctionProcess, ServiceProcess};
pub use postgres::Postgres;
pub use redis::Redis;
pub use stack::LocalCloud;
pub use tasks::CloudTasks;
