//! The pieces of the local cloud, each over the real programs.

mod cleanup;
mod existing;
mod schema;
mod servers;
