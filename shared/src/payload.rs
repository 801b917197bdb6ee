//! What each queue's tasks carry: the contract between producers and jobs.
//!
//! Fields are camelCase JSON; unknown fields are ignored. A field `userId` is the user whom the task is about: what is kept
//! of the task goes when the user does. A payload type names its queue, so a task cannot be sent to a queue of another kind.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::queue::Queue;

mod sweep;
mod target;

pub use sweep::Position;
pub use target::{Target, UserTask};

/// A task's content, tied to the queue that carries it.
pub trait Payload: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    /// The queue of all tasks with this payload.
    const QUEUE: Queue;

    /// Version of the schema. A task of a newer version waits for a revision that knows it.
    const VERSION: u32 = 1;

    /// Turns a payload of version `from` into one of version `from + 1`; called from the task's version on, one after the
    /// other. A fixture of every version is kept.
    #[must_use]
    fn upgrade(_from: u32, value: serde_json::Value) -> serde_json::Value {
        value
    }
}
