//! Runtime and contracts of the background-job functions.
//!
//! Layers, top to bottom; no arrow points upwards:
//!
//! 1. [`runtime`]: the service around a job; [`replay`]; [`sweep`], `reminder`: what sweeping jobs share
//! 2. [`job`]: the contract of a job, and what jobs are built from; `suggestions`, `availability`: rules of several jobs
//! 3. `cache`, `rate_limit`, [`idempotency`]: what is kept in Redis
//! 4. [`redis`], [`tasks`], `google`, [`oidc`], [`db`], `notify`: the other sides
//! 5. [`queue`], [`pace`], [`payload`], [`envelope`], [`failure`], [`span`]: plain data that producers, queues and jobs agree on
//! 6. [`config`], [`http`], [`clock`], [`telemetry`]: what everything stands on

#[cfg(any(feature = "google", feature = "notify"))]
pub mod application;
#[cfg(feature = "suggestions")]
pub mod availability;
#[cfg(feature = "cache")]
pub mod cache;
pub mod clock;
pub mod config;
pub mod db;
pub mod envelope;
pub mod failure;
#[cfg(feature = "google")]
pub mod google;
pub mod http;
pub mod idempotency;
pub mod job;
#[cfg(feature = "notify")]
pub mod notify;
pub mod oidc;
pub mod pace;
pub mod payload;
pub mod queue;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod redis;
#[cfg(feature = "notify")]
pub mod reminder;
pub mod replay;
pub mod runtime;
pub mod span;
#[cfg(feature = "suggestions")]
pub mod suggestions;
pub mod sweep;
pub mod tasks;
pub mod telemetry;
#[cfg(any(feature = "suggestions", feature = "notify"))]
pub mod time_zone;
#[cfg(feature = "webhooks")]
pub mod webhooks;
