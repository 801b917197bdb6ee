//! Sweeps: a page of due users becomes one task each, and the rest a continuation task.
//!
//! All names derive from the occasion, so a sweep that runs twice creates nothing twice.

use serde::Serialize;
use uuid::Uuid;

use crate::db::{Db, Page};
use crate::failure::Failure;
use crate::job::{Context, Outcome};
use crate::payload::{Payload, Position};
use crate::tasks::{Options, Tasks};

/// Users that one task of a sweep looks at.
pub const PAGE: u32 = 500;

/// One task of a sweep.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// Names the sweep, of all sweeps whose tasks go to the same queues.
    pub id: String,
    /// Users up to this one were looked at.
    pub after: Uuid,
    context: &'a Context,
}

/// What one page of a sweep did.
#[derive(Debug, Serialize)]
struct Swept {
    due: usize,
    created: u64,
    existing: u64,
    /// A continuation task looks at the next users.
    continued: bool,
}

impl<'a> Sweep<'a> {
    /// The sweep of a schedule's period, or the one that a continuation task goes on with.
    #[must_use]
    pub fn of(position: &Position, context: &'a Context) -> Self {
        Self::named(|| context.occasion.to_rfc3339(), position, context)
    }

    /// As [`Sweep::of`], for a queue with several schedules: `part` tells their sweeps of one period apart.
    #[must_use]
    pub fn of_part(part: &str, position: &Position, context: &'a Context) -> Self {
        Self::named(|| format!("{part}:{}", context.occasion.to_rfc3339()), position, context)
    }

    /// As [`Sweep::of`], for a sweep that is named after something else than its period.
    #[must_use]
    pub fn named(name: impl FnOnce() -> String, position: &Position, context: &'a Context) -> Self {
        Self {
            id: position.sweep_id.clone().unwrap_or_else(name),
            after: position.cursor.unwrap_or(Uuid::nil()),
            context,
        }
    }

    /// What the task of a user carries, to find the way back to its sweep.
    #[must_use]
    pub fn origin(&self) -> Position {
        Position { cursor: None, sweep_id: Some(self.id.clone()) }
    }

    /// Creates a task for each user of the page, and one that goes on behind it when it is not the last.
    ///
    /// A page that runs again, in whole or in part, creates what is missing.
    pub async fn fan_out<U: Payload, S: Payload>(
        &self,
        db: &Db,
        tasks: &Tasks,
        page: Page,
        user: impl Fn(Uuid) -> U + Send + Sync,
        rest: impl FnOnce(Position) -> S + Send,
    ) -> Result<Outcome, Failure> {
        let named: Vec<_> =
            page.users.into_iter().map(|user_id| (user(user_id), self.name(user_id))).collect();
        self.fan_out_named(db, tasks, named, page.next, rest).await
    }

    /// As [`Sweep::fan_out`], for tasks that are named after something else than this sweep: another sweep does not
    /// create them again.
    pub async fn fan_out_named<U: Payload, S: Payload>(
        &self,
        db: &Db,
        tasks: &Tasks,
        named: Vec<(U, Options)>,
        next: Option<Uuid>,
        rest: impl FnOnce(Position) -> S + Send,
    ) -> Result<Outcome, Failure> {
        let due = named.len();
        let summary = tasks.enqueue_many(named).await?;
        if let Some(after) = next {
            let position = Position { cursor: Some(after), ..self.origin() };
            let name = self.name(format!("after:{after}"));
            tasks.enqueue_with(&rest(position), name).await?;
        }
        let finished = next.is_none();
        db.sweep_page(S::QUEUE, &self.id, summary.created, finished, self.context.now()).await?;
        Ok(Outcome::done(Swept {
            due,
            created: summary.created,
            existing: summary.existing,
            continued: !finished,
        }))
    }

    fn name(&self, what: impl std::fmt::Display) -> Options {
        Options::default().named(format_args!("sweep:{}:{what}", self.id))
    }
}
