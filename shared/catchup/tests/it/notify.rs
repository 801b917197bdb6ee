//! Messages over real servers: Postgres, Redis behind its gateway, and a stand-in for those who carry messages.

mod configuration;
mod email;
mod ledger;
mod sms;
mod stack;
