//! The test kit: real servers, stand-ins, and processes that tests control.

#![expect(clippy::missing_panics_doc, reason = "a kit that cannot do its work fails the test, and says why")]

pub mod acting;
pub mod clock;
pub mod database;
pub mod document;
pub mod endings;
pub mod google;
pub mod handover;
pub mod http;
pub mod incident;
pub mod instances;
pub mod issuer;
pub mod messaging;
pub mod million;
pub mod predecessor;
pub mod probe;
pub mod process;
pub mod redis_proxy;
pub mod repository;
pub mod stack;
pub mod switch;
pub mod upstash;
pub mod wait;

pub use clock::{AheadClock, HandClock, zone_of_noon};
pub use database::Database;
pub use google::Google;
pub use incident::Incident;
pub use instances::Instances;
pub use issuer::Issuer;
pub use messaging::Messaging;
pub use probe::Probe;
pub use process::Process;
pub use redis_proxy::RedisProxy;
pub use stack::{Answer, Delivery, Service, Stack};
pub use switch::Switch;
pub use upstash::Upstash;
pub use wait::{eventually, until_some, within};
