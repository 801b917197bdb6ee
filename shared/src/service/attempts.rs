//! Decides, after each run, whether a task is done, comes back, or is dead. Attempts are counted here, since Cloud
//! Tasks deletes a task without a word when its own are used up.

use serde_json::{Value, json};
use tower::{Layer, layer::layer_fn, service_fn};

use super::claim::{Ending, Settlement};
use super::comeback::{Comeback, Then};
use super::dead_letters::DeadLetters;
use super::dispatch::Dispatch;
use super::verdict::{Interruption, Verdict};
use super::{Stage, call};
use crate::failure::Failure;
use crate::job::Outcome;
use crate::queue::Queue;
use crate::telemetry::chain;

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
        if let Err(then) = self.admit(&dispatch).await {
            return released(then);
        }
        match call(inner, dispatch.clone()).await {
            Ok(Outcome::Done(result)) => Ending {
                claim: Settlement::Settle(result.clone()),
                then: Then::Answer(Verdict::Done(result)),
            },
            Ok(Outcome::Skipped(reason)) => Ending {
                claim: Settlement::Settle(skipped(reason)),
                then: Then::Answer(Verdict::Skipped(reason)),
            },
            Ok(Outcome::Snooze(until)) => released(self.comeback.at(&dispatch, until)),
            Err(interruption) => released(self.interrupted(&dispatch, interruption).await),
        }
    }

    /// A last attempt is announced before it runs. Dispatches also count that met nobody (a bad deployment, no instance,
    /// an outage), so a task beyond its attempts is dead only if a last attempt was announced and never reported back.
    async fn admit(&self, dispatch: &Dispatch) -> Result<(), Then> {
        let is_beyond = dispatch.attempt() > self.queue.policy().attempts;
        if is_beyond && self.letters.was_started(dispatch).await? {
            let error = "the last attempt never answered";
            return Err(self.letters.failed(dispatch, "attempts_used_up", error).await);
        }
        if dispatch.is_last(self.queue) {
            self.letters.started(dispatch).await?;
        }
        Ok(())
    }

    async fn interrupted(&self, dispatch: &Dispatch, interruption: Interruption) -> Then {
        match interruption {
            Interruption::Unusable(error) => {
                self.letters.failed(dispatch, error.code(), &error.to_string()).await
            }
            Interruption::Failed(failure) => match failure {
                Failure::Permanent(_) => self.letters.failed(dispatch, "permanent", &chain(&failure)).await,
                Failure::Transient(_) => self.failed("transient", dispatch, &chain(&failure)).await,
                Failure::Unavailable { retry_after, .. } => {
                    tracing::warn!(error = chain(&failure), "something that every task needs is away");
                    self.comeback.after_outage(dispatch, "dependency", retry_after)
                }
            },
            Interruption::TimedOut => self.failed("timeout", dispatch, "the job's time was over").await,
            Interruption::Panicked => self.failed("panic", dispatch, "the job panicked").await,
            Interruption::Cancelled => Then::ComeBack(self.comeback.now(dispatch, "shutdown")),
        }
    }

    async fn failed(&self, reason: &'static str, dispatch: &Dispatch, error: &str) -> Then {
        if dispatch.is_last(self.queue) {
            return self.letters.failed(dispatch, reason, error).await;
        }
        tracing::warn!(reason, error, attempt = dispatch.attempt(), "attempt failed");
        Then::Answer(Verdict::Retry(reason))
    }
}

fn released(then: Then) -> Ending {
    Ending { then, claim: Settlement::Release }
}

/// What answers the duplicates of a skipped task.
fn skipped(reason: &str) -> Value {
    json!({ "skipped": reason })
}
