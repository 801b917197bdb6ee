//! What a product declares: its queues, its environment variables and the retention of its tables.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Policy, Queue};
use crate::config::Variable;

/// What the platform must know of a product: a `static`, named by each of its queues.
#[derive(Debug)]
pub struct Declaration {
    /// The queues' policies; parsed once, by their owner.
    pub policies: fn() -> &'static Policies,
    /// The environment variables of its functions, besides those of the platform.
    pub variables: &'static [Variable],
    /// How long it keeps what it has in the schema `jobs`.
    pub retention: Retention,
}

impl Declaration {
    /// All queues, in the order of the declaration.
    pub fn queues(&'static self) -> impl Iterator<Item = Queue> {
        self.policies().0.iter().map(move |(name, _)| Queue::new(name, self))
    }

    /// The queue of that name.
    #[must_use]
    pub fn queue(&'static self, name: &str) -> Option<Queue> {
        self.queues().find(|queue| queue.name() == name)
    }

    pub(super) fn policies(&self) -> &'static Policies {
        (self.policies)()
    }
}

/// The policies of a product's queues, by name.
#[derive(Debug)]
pub struct Policies(Vec<(String, Policy)>);

impl Policies {
    /// Reads `{"queues": {"<name>": {…}}}`.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            queues: Policies,
        }
        serde_json::from_str(json).map(|file: File| file.queues)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Policy> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, policy)| policy)
    }
}

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Policies;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("policies by the names of their queues")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policies, A::Error> {
                let mut policies = Policies(Vec::new());
                while let Some((name, policy)) = map.next_entry::<String, Policy>()? {
                    if policies.get(&name).is_some() {
                        return Err(A::Error::custom(format_args!("{name} is declared twice")));
                    }
                    policies.0.push((name, policy));
                }
                Ok(policies)
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// How long a product keeps the rows of its tables in the schema `jobs`. What is not declared is kept as long as its user
/// exists.
#[derive(Debug)]
pub struct Retention {
    /// The table of its users, whose key is `id`.
    pub users: &'static str,
    /// Rows that are deleted at an age.
    pub aged: &'static [Aged],
    /// All its tables with a `user_id`.
    pub personal: &'static [Personal],
}

/// Rows of a table that are deleted at an age.
#[derive(Debug)]
pub struct Aged {
    /// The table.
    pub table: &'static str,
    /// The column that the age is counted from.
    pub time: &'static str,
    /// The age.
    pub days: i64,
}

/// A table with a `user_id`: its rows go when the user does.
#[derive(Debug)]
pub struct Personal {
    /// The table.
    pub table: &'static str,
    /// Rows that one statement may delete.
    pub step: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_declared_once() {
        let policy = r#""a": {"attempts": 1, "minBackoffSeconds": 1, "maxBackoffSeconds": 1, "maxDoublings": 1,
            "maxDispatchesPerSecond": 1, "timeoutSeconds": 1, "dispatchDeadlineSeconds": 2, "schedules": []}"#;
        assert!(Policies::parse(&format!(r#"{{"queues": {{{policy}}}}}"#)).is_ok());
        assert!(Policies::parse(&format!(r#"{{"queues": {{{policy}, {policy}}}}}"#)).is_err());
    }
}
