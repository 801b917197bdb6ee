//! What a limit is.

use std::time::Duration;

/// At most `max` calls of one subject in any span of `window`.
#[derive(Debug, PartialEq, Eq)]
pub struct Limit {
    /// Names it in Redis.
    pub name: &'static str,
    /// The span.
    pub window: Duration,
    /// The calls.
    pub max: u32,
    /// A limit that counts these calls too, and others. It has no outer limit itself.
    pub outer: Option<&'static Limit>,
}

impl Limit {
    /// The limit under whose name the calls are recorded: all limits with one outer limit share one record.
    pub(super) fn outermost(&'static self) -> &'static Self {
        self.outer.unwrap_or(self)
    }

    /// Itself, and its outer limit.
    pub(super) fn all(&'static self) -> impl Iterator<Item = &'static Self> {
        std::iter::once(self).chain(self.outer)
    }
}
