//! Work that outlives its caller. Hyper drops the work on a request whose caller hangs up; that must not cut a job off
//! between two of its effects, nor keep its log line from being written.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Runs where it is awaited as long as the caller waits, and after that in a task of its own: the usual dispatch needs no
/// second task.
pub(super) struct Detached<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    tracker: TaskTracker,
    /// The work is known to the tracker from the beginning.
    _token: TaskTrackerToken,
}

impl<F: Future<Output: Send> + Send + 'static> Detached<F> {
    pub(super) fn new(tracker: TaskTracker, work: F) -> Self {
        Self { work: Some(Box::pin(work)), _token: tracker.token(), tracker }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let poll = work.as_mut().poll(context);
        if poll.is_ready() {
            self.work = None;
        }
        poll
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.tracker.spawn(work);
        }
    }
}
