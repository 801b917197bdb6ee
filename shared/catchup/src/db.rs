//! Postgres: all SQL of the domain, one file per aggregate, each with a handle on it.
//!
//! The application's tables are used as they are; what is ours lives in the schema `jobs` (`shared/catchup/migrations`).

/// Declares the handle of an aggregate.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(shared::db::Database);

        impl $name {
            /// The handle of a job.
            pub fn new(setup: &shared::job::Setup) -> Result<Self, shared::config::InvalidConfig> {
                setup.database().map(Self)
            }
        }

        impl From<shared::db::Database> for $name {
            fn from(database: shared::db::Database) -> Self {
                Self(database)
            }
        }
    };
}
pub(crate) use handle;

#[cfg(feature = "suggestions")]
pub mod availability;
#[cfg(all(feature = "notify", feature = "suggestions"))]
pub mod batches;
pub mod calendar_events;
pub mod calendar_sync_runs;
pub mod calendars;
pub(crate) mod circuit_breaker;
pub mod contact_groups;
pub mod contacts;
pub mod deliveries;
pub mod google_waits;
#[cfg(feature = "migrate")]
pub mod handover;
#[cfg(feature = "suggestions")]
mod later_tables;
pub mod meetings;
#[cfg(feature = "migrate")]
pub mod migrations;
pub mod oauth_tokens;
pub mod operators;
pub mod opt_outs;
pub mod push_notifications;
pub mod recipients;
pub mod refused_tokens;
pub mod reminders;
#[cfg(feature = "suggestions")]
pub mod suggestions;
pub(crate) mod sync_locks;
pub(crate) mod sync_metrics;
pub mod sync_schedule;
pub(crate) mod sync_status;
pub mod token_health;
pub mod user_overview;
pub mod users;
pub mod webhook_channels;
