//! The client, the limiter and the cache over a real Redis behind the gateway, and over servers that misbehave.

mod cache;
mod client;
mod faulty;
mod limiter;
mod lossy;
mod stack;
