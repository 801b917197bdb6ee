//! The platform of background-job functions: what runs a job, and what producers, queues and jobs agree on. It knows no
//! product; a product declares its queues ([`queue::Declaration`]), its payloads and its jobs: [`example`] is one.
//!
//! Layers, top to bottom; no arrow points upwards:
//!
//! 1. [`runtime`]: the service around a job; [`replay`]; [`sweep`]: what sweeping jobs share
//! 2. [`job`]: the contract of a job, and what jobs are built from
//! 3. `cache`, `rate_limit`, [`idempotency`]: what is kept in Redis
//! 4. [`redis`], [`tasks`], [`oidc`], [`db`]: clients of external systems
//! 5. [`queue`], [`cron`], [`pace`], [`payload`], [`envelope`], [`failure`]: plain data that producers, queues and jobs agree on
//! 6. [`config`], [`http`], [`clock`], [`stdout`], [`telemetry`]: what everything is built on

#[cfg(feature = "cache")]
pub mod cache;
pub mod clock;
pub mod config;
pub mod cron;
pub mod db;
pub mod envelope;
#[cfg(any(doc, doctest))]
pub mod example;
pub mod failure;
pub mod http;
pub mod idempotency;
pub mod job;
pub mod oidc;
pub mod pace;
pub mod payload;
pub mod queue;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod redis;
pub mod replay;
pub mod runtime;
pub mod stdout;
pub mod sweep;
pub mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
