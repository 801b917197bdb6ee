//! Another product on this platform: one queue, its payload, and its job.
//!
//! ```no_run
#![doc = include_str!("../examples/thumbnails.rs")]
//! ```
