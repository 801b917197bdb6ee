//! Which jobs run at the same time in this process. A task whose run was killed is given a process to itself for its next run, so that
//! another kill proves that it is this task which kills.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How long a task waits for a place; much shorter than the difference of dispatch deadline and job timeout.
const ENTER_TIMEOUT: Duration = Duration::from_secs(30);

/// The jobs of this process. Who waits to be alone keeps others from coming in.
#[derive(Default)]
pub(super) struct Occupancy(Arc<RwLock<()>>);

/// A job's place in this process.
pub(super) enum Place {
    /// Shared with others.
    Shared { _place: OwnedRwLockReadGuard<()> },
    /// Alone.
    Alone { _place: OwnedRwLockWriteGuard<()> },
}

impl Occupancy {
    /// A place, alone or shared; `None` when there was none in time.
    pub(super) async fn enter(&self, alone: bool) -> Option<Place> {
        let lock = Arc::clone(&self.0);
        let enter = async {
            if alone {
                Place::Alone { _place: lock.write_owned().await }
            } else {
                Place::Shared { _place: lock.read_owned().await }
            }
        };
        tokio::time::timeout(ENTER_TIMEOUT, enter).await.ok()
    }
}

impl Place {
    pub(super) fn is_alone(&self) -> bool {
        match self {
            Self::Shared { .. } => false,
            Self::Alone { .. } => true,
        }
    }
}
