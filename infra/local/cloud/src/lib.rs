//! The local cloud: everything that a function needs, on loopback, as pieces that can be composed.
//!
//! Each piece ends when it is dropped, and with this process even when nothing is dropped: a watchdog sees to that.

mod background;
pub mod functions;
mod owned;
pub mod postgres;
pub mod redis;
pub mod tasks;

pub use background::Background;
pub use functions::FunctionProcess;
pub use postgres::Postgres;
pub use redis::Redis;
pub use tasks::CloudTasks;
