//! The domain over real servers: Postgres, Redis behind its gateway, and stand-ins for the vendors.

mod cache;
mod db;
mod google;
mod notify;
