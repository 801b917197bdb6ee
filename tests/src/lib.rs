//! The test kit: real servers, stand-ins, and processes that tests control.

#![expect(clippy::missing_panics_doc, reason = "a kit that cannot do its work fails the test, and says why")]

pub mod acting;
pub mod document;
pub mod endings;
pub mod google;
pub mod instances;
pub mod issuer;
pub mod messaging;
pub mod probe;
pub mod process;
pub mod redis_proxy;
pub mod repository;
pub mod stack;
pub mod switch;
pub mod wait;

pub use google::Google;
pub use instances::Instances;
pub use issuer::Issuer;
pub use messaging::Messaging;
pub use probe::Probe;
pub use process::Process;
pub use redis_proxy::RedisProxy;
pub use stack::{Answer, Delivery, Service, Stack};
pub use switch::Switch;
pub use wait::{eventually, within};
