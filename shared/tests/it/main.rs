//! The platform over real servers: its tables, and the client, the limiter and the cache over Redis behind the gateway
//! and over servers that misbehave.

mod cache;
mod client;
mod connections;
mod faulty;
mod jobs_schema;
mod limiter;
mod stack;
