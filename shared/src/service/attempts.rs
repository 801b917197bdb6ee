//! Decides, after each run, whether a task is done, comes back, or is dead. Attempts are counted here, since Cloud
//! Tasks deletes a task without a word when its own are used up.

use serde_json::{Value, json};
use tower::{Layer, layer::layer_fn, service_fn};

use super::claim::{Ending, Settlement};
use super::comeback::Comeback;
use super::dead_letters::DeadLetters;
use super::dispatch::Dispatch;
use super::verdict::{Interruption, Verdict};
use super::{Stage, call};
use crate::job::{BoxError, Failure, Outcome};
use crate::queue::Queue;

pub(super) fn layer<S: Stage<Dispatch, Result<Outcome, Interruption>>>(
    queue: Queue,
    letters: DeadLetters,
    comeback: Comeback,
) -> impl Layer<S, Service: Stage<Dispatch, Ending>> + Clone {
    layer_fn(move |inner: S| {
        let judge = Judge { queue, letters: letters.clone(), comeback: comeback.clone() };
        service_fn(move |dispatch: Dispatch| {
            let (inner, judge) = (inner.clone(), judge.clone());
            async move { Ok(judge.run(inner, dispatch).await) }
        })
    })
}

#[derive(Clone)]
struct Judge {
    queue: Queue,
    letters: DeadLetters,
    comeback: Comeback,
}

impl Judge {
    async fn run(
        &self,
        inner: impl Stage<Dispatch, Result<Outcome, Interruption>>,
        dispatch: Dispatch,
    ) -> Ending {
        if dispatch.attempt() > self.queue.policy().attempts {
            return released(
                self.letters.failed(&dispatch, "attempts_used_up", "the last attempt never answered").await,
            );
        }
        if dispatch.is_last(self.queue)
            && let Err(error) = self.letters.started(&dispatch).await
        {
            let Failure::Unavailable { retry_after, .. } = error else {
                return released(Verdict::Retry("dead_letter_not_written"));
            };
            return released(self.comeback.after_outage(&dispatch, "database", retry_after).await);
        }
        match call(inner, dispatch.clone()).await {
            Ok(Outcome::Done(result)) => {
                Ending { claim: Settlement::Settle(result.clone()), verdict: Verdict::Done(result) }
            }
            Ok(Outcome::Skipped(reason)) => {
                Ending { claim: Settlement::Settle(skipped(reason)), verdict: Verdict::Skipped(reason) }
            }
            Ok(Outcome::Snooze(until)) => released(self.comeback.at(&dispatch, until).await),
            Err(interruption) => released(self.interrupted(&dispatch, interruption).await),
        }
    }

    async fn interrupted(&self, dispatch: &Dispatch, interruption: Interruption) -> Verdict {
        match interruption {
            Interruption::Unusable(error) => {
                self.letters.failed(dispatch, error.code(), &chain(&error)).await
            }
            Interruption::Failed(Failure::Permanent(error)) => {
                self.failed("permanent", dispatch, &error, true).await
            }
            Interruption::Failed(Failure::Transient(error)) => {
                self.failed("transient", dispatch, &error, false).await
            }
            Interruption::Failed(Failure::Unavailable { retry_after, source }) => {
                tracing::warn!(
                    error = source.as_ref() as &dyn std::error::Error,
                    "something that every task needs is away"
                );
                self.comeback.after_outage(dispatch, "dependency", retry_after).await
            }
            Interruption::TimedOut => {
                self.failed("timeout", dispatch, &"the job's time was over".into(), false).await
            }
            Interruption::Panicked(message) => self.failed("panic", dispatch, &message.into(), false).await,
            Interruption::Cancelled => self.comeback.now(dispatch, "shutdown").await,
        }
    }

    async fn failed(
        &self,
        reason: &'static str,
        dispatch: &Dispatch,
        error: &BoxError,
        for_good: bool,
    ) -> Verdict {
        let text = chain(error.as_ref());
        if for_good || dispatch.is_last(self.queue) {
            self.letters.failed(dispatch, reason, &text).await
        } else {
            tracing::warn!(reason, error = text, attempt = dispatch.attempt(), "attempt failed");
            Verdict::Retry(reason)
        }
    }
}

fn released(verdict: Verdict) -> Ending {
    Ending { verdict, claim: Settlement::Release }
}

/// What answers the duplicates of a skipped task.
fn skipped(reason: &str) -> Value {
    json!({ "skipped": reason })
}

/// An error and what it came from.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
