//! Shared dependencies that failed a moment ago. Until one answers a cheap question again, tasks are turned away before
//! they cost a Redis command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::db::{self, Database};
use crate::failure::BoxError;
use crate::queue::Queue;
use crate::tasks::{self, Tasks};

/// How long a dependency may take to answer before it counts as unavailable.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A dependency that every task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumIter)]
pub(super) enum Dependency {
    Database,
    CloudTasks,
    /// The keys that identity tokens are verified with.
    IssuerKeys,
    /// Another one, which only a job can ask.
    Other,
}

impl Dependency {
    /// Which dependency an outage is about.
    pub(super) fn of(error: &BoxError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
        while let Some(error) = cause {
            if error.is::<db::Error>() {
                return Self::Database;
            }
            if error.is::<tasks::Error>() {
                return Self::CloudTasks;
            }
            cause = error.source();
        }
        Self::Other
    }

    /// A stable name, for responses and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::CloudTasks => "cloud_tasks",
            Self::IssuerKeys => "oidc_keys",
            Self::Other => "dependency",
        }
    }
}

/// What this process knows.
#[derive(Default)]
pub(super) struct Outages {
    database: AtomicBool,
    cloud_tasks: AtomicBool,
}

impl Outages {
    /// Remembers that a dependency failed.
    pub(super) fn remember(&self, dependency: Dependency) {
        match dependency {
            Dependency::Database => self.database.store(true, Ordering::Relaxed),
            Dependency::CloudTasks => self.cloud_tasks.store(true, Ordering::Relaxed),
            Dependency::IssuerKeys | Dependency::Other => {}
        }
    }

    /// A dependency that failed before and still does. Sends no request in the usual case.
    pub(super) async fn current(
        &self,
        database: &Database,
        tasks: &Tasks,
        queue: Queue,
    ) -> Option<Dependency> {
        if self.database.load(Ordering::Relaxed) {
            let written = tokio::time::timeout(TIMEOUT, Box::pin(database.check_writable())).await;
            if !matches!(written, Ok(Ok(()))) {
                return Some(Dependency::Database);
            }
            self.database.store(false, Ordering::Relaxed);
        }
        if self.cloud_tasks.load(Ordering::Relaxed) {
            if !Box::pin(tasks.is_available(queue)).await {
                return Some(Dependency::CloudTasks);
            }
            self.cloud_tasks.store(false, Ordering::Relaxed);
        }
        None
    }
}
