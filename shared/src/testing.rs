//! A product for the tests of this crate.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::payload::Payload;
use crate::queue::{Declaration, Policies, Queue, Retention};

pub(crate) static DECLARATION: Declaration = Declaration {
    policies: || {
        static POLICIES: LazyLock<Policies> =
            LazyLock::new(|| Policies::parse(include_str!("testing/queues.json")).unwrap());
        &POLICIES
    },
    variables: &[],
    retention: Retention { users: "users", aged: &[], personal: &[] },
};

/// Without schedules.
pub(crate) const THUMBNAILS: Queue = Queue::new("thumbnails", &DECLARATION);
/// Once an hour.
pub(crate) const SLOW: Queue = Queue::new("slow", &DECLARATION);

/// An optional field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thumbnails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
}

impl Payload for Thumbnails {
    const QUEUE: Queue = THUMBNAILS;
}

/// A field that is needed, of which there are few values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slow {
    pub(crate) colour: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Colour {
    Blue,
}

impl Payload for Slow {
    const QUEUE: Queue = SLOW;
}
