//! CatchUp: what its background jobs share, on the platform of the crate `shared`.
//!
//! Layers, top to bottom; no arrow points upwards:
//!
//! 1. `reminder`: what two jobs are
//! 2. `suggestions`, `availability`, [`sync`], [`webhooks`]: rules of several jobs
//! 3. `google`, `notify`, `cache`: clients of external systems
//! 4. [`db`]: SQL and nothing else
//! 5. `sync_rules`, [`queues`], [`payload`], [`event`], [`span`], `limits`, `links`, `application`, `time_zone`, [`variables`]: plain data

#[cfg(any(feature = "google", feature = "notify"))]
pub mod application;
#[cfg(feature = "suggestions")]
pub mod availability;
#[cfg(feature = "cache")]
pub mod cache;
pub mod db;
pub mod event;
#[cfg(feature = "google")]
pub mod google;
#[cfg(any(feature = "google", feature = "links"))]
mod hex_key;
#[cfg(feature = "rate-limit")]
pub mod limits;
#[cfg(feature = "links")]
pub mod links;
#[cfg(feature = "notify")]
pub mod notify;
pub mod payload;
pub mod queues;
#[cfg(feature = "notify")]
pub mod reminder;
mod retention;
pub mod span;
#[cfg(feature = "suggestions")]
pub mod suggestions;
pub mod sync;
mod sync_rules;
#[cfg(any(feature = "calendar", feature = "suggestions", feature = "notify"))]
pub mod time_zone;
pub mod variables;
pub mod webhooks;
