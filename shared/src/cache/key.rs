//! What is cached: names, values and times to live.

use std::time::Duration;

use chrono::NaiveDate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::span::Spans;

/// Names one cached value.
pub trait CacheKey: Sync {
    /// The value. The application's own JSON where the application reads it, too.
    type Value: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// `None` keeps the value until it is dropped.
    const TIME_TO_LIVE: Option<Duration>;

    /// The running application reads and writes the same key: plain JSON, never compressed.
    const SHARED_WITH_APPLICATION: bool;

    /// What is dropped at once. Without [parts](Self::part) this is the key in Redis.
    fn scope(&self) -> String;

    /// Tells the values of one scope apart. In Redis they carry the scope's generation, which is a key of its own: a new
    /// one leaves all of them behind without looking for them.
    fn part(&self) -> Option<String> {
        None
    }
}

macro_rules! application_keys {
    ($($(#[$doc:meta])* $name:ident: $prefix:literal, $time_to_live:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub Uuid);

        impl CacheKey for $name {
            type Value = serde_json::Value;
            const TIME_TO_LIVE: Option<Duration> = $time_to_live;
            const SHARED_WITH_APPLICATION: bool = true;

            fn scope(&self) -> String {
                format!(concat!($prefix, ":{}"), self.0)
            }
        }
    )*};
}

application_keys! {
    /// A user's contacts, by the user's id.
    ContactList: "contact:list", Some(Duration::from_mins(5));
    /// One contact, by its id.
    ContactProfile: "contact:profile", Some(Duration::from_mins(5));
    /// A user's suggestions, by the user's id.
    SuggestionList: "suggestion:list", None;
    /// A user's preferences, by the user's id.
    UserPreferences: "user:prefs", Some(Duration::from_mins(10));
}

/// What a user's calendars leave free between two days. Ours alone: the application's `calendar:slots:` keys have no
/// generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarSlots {
    /// The user.
    pub user_id: Uuid,
    /// The zone of the user's all-day events, an IANA name.
    pub zone: &'static str,
    /// First day, UTC.
    pub from: NaiveDate,
    /// Last day, UTC.
    pub to: NaiveDate,
}

impl CalendarSlots {
    pub(super) fn scope_of(user_id: Uuid) -> String {
        format!("jobs:slots:{user_id}")
    }
}

impl CacheKey for CalendarSlots {
    type Value = Spans;
    const TIME_TO_LIVE: Option<Duration> = Some(Duration::from_hours(1));
    const SHARED_WITH_APPLICATION: bool = false;

    fn scope(&self) -> String {
        Self::scope_of(self.user_id)
    }

    fn part(&self) -> Option<String> {
        Some(format!("{}:{}_{}", self.zone, self.from, self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_applications_keys_are_spelled_as_the_application_spells_them() {
        let id = Uuid::nil();
        assert_eq!(ContactList(id).scope(), "contact:list:00000000-0000-0000-0000-000000000000");
        assert_eq!(ContactProfile(id).scope(), "contact:profile:00000000-0000-0000-0000-000000000000");
        assert_eq!(SuggestionList(id).scope(), "suggestion:list:00000000-0000-0000-0000-000000000000");
        assert_eq!(UserPreferences(id).scope(), "user:prefs:00000000-0000-0000-0000-000000000000");
    }
}
