//! Runs a task only if it is ours, keeps it ours while it runs, and settles it after.

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tower::{Layer, layer::layer_fn, service_fn};

use super::comeback::Comeback;
use super::dead_letters::DeadLetters;
use super::dispatch::Dispatch;
use super::verdict::Verdict;
use super::{Stage, call};
use crate::idempotency::{Claim, Claims, Held, Lease};
use crate::queue::{Queue, WhenRedisIsDown};
use crate::redis;

/// How long the queue waits for Redis where nothing may run without a claim.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How a run ended, and what is to happen to its claim.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) verdict: Verdict,
    pub(super) claim: Settlement,
}

/// What is to happen to a claim.
#[derive(Debug)]
pub(super) enum Settlement {
    /// The task ran; this answers its duplicates.
    Settle(Value),
    /// The task may run again.
    Release,
}

pub(super) fn layer<S: Stage<Dispatch, Ending>>(
    queue: Queue,
    claims: Claims,
    letters: DeadLetters,
    comeback: Comeback,
) -> impl Layer<S, Service: Stage<Dispatch, Verdict>> + Clone {
    layer_fn(move |inner: S| {
        let guard =
            Guard { queue, claims: claims.clone(), letters: letters.clone(), comeback: comeback.clone() };
        service_fn(move |dispatch: Dispatch| {
            let (inner, guard) = (inner.clone(), guard.clone());
            async move { Ok(guard.run(inner, dispatch).await) }
        })
    })
}

#[derive(Clone)]
struct Guard {
    queue: Queue,
    claims: Claims,
    letters: DeadLetters,
    comeback: Comeback,
}

impl Guard {
    async fn run(&self, inner: impl Stage<Dispatch, Ending>, dispatch: Dispatch) -> Verdict {
        let policy = self.queue.policy();
        match self.claims.claim(&dispatch.key, &dispatch.envelope.payload_hash(), policy.lease()).await {
            Ok(Claim::Mine(lease)) => self.run_under(lease, inner, dispatch).await,
            Ok(Claim::Done(result)) => {
                self.forget_started(&dispatch).await;
                Verdict::Duplicate(result)
            }
            Ok(Claim::Leased { until, lease }) => self.comeback.after_lease(&dispatch, until, &lease).await,
            Ok(Claim::OtherPayload) => {
                self.letters.failed(&dispatch, "key_reused", "the key belongs to another payload").await
            }
            Err(error) => self.without_redis(inner, dispatch, &error).await,
        }
    }

    async fn without_redis(
        &self,
        inner: impl Stage<Dispatch, Ending>,
        dispatch: Dispatch,
        error: &redis::Error,
    ) -> Verdict {
        tracing::warn!(error = error as &dyn std::error::Error, "task could not be claimed");
        match self.queue.policy().when_redis_is_down {
            WhenRedisIsDown::Hold => self.comeback.after_outage(&dispatch, "redis", RETRY_AFTER).await,
            WhenRedisIsDown::Continue => {
                let verdict = call(inner, dispatch.clone()).await.verdict;
                self.forget_started_if(&verdict, &dispatch).await;
                verdict
            }
        }
    }

    async fn run_under(
        &self,
        mut lease: Lease,
        inner: impl Stage<Dispatch, Ending>,
        dispatch: Dispatch,
    ) -> Verdict {
        let ending = self.keep_while(&mut lease, call(inner, dispatch.clone())).await;
        let settled = match ending.claim {
            Settlement::Settle(result) => self.claims.settle(lease, &result).await,
            Settlement::Release => self.claims.release(lease).await,
        };
        match settled {
            Ok(Held::Yes) => {}
            // The effect is there and the verdict stands; another delivery may have run beside this one.
            Ok(Held::No) => tracing::warn!("lease was lost before the task was settled"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "task could not be settled")
            }
        }
        self.forget_started_if(&ending.verdict, &dispatch).await;
        ending.verdict
    }

    /// Renews the lease while the job outlasts half of it.
    async fn keep_while<T>(&self, lease: &mut Lease, run: impl Future<Output = T>) -> T {
        let time = self.queue.policy().lease();
        let mut run = pin!(run);
        loop {
            tokio::select! {
                output = &mut run => return output,
                () = tokio::time::sleep(time / 2) => {}
            }
            // The renewal runs beside the job: a slow Redis must not hold it up.
            let mut renewal = pin!(self.claims.renew(lease, time));
            let renewed = tokio::select! {
                output = &mut run => {
                    // Its answer decides which value the settlement has to name.
                    let _logged_by_the_settlement = renewal.await;
                    return output;
                }
                renewed = &mut renewal => renewed,
            };
            match renewed {
                Ok(Held::Yes) => {}
                Ok(Held::No) => tracing::warn!("lease was lost while the task ran"),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lease was not renewed")
                }
            }
        }
    }

    async fn forget_started_if(&self, verdict: &Verdict, dispatch: &Dispatch) {
        if !matches!(verdict, Verdict::Dead(_) | Verdict::Retry(_) | Verdict::Unavailable(..)) {
            self.forget_started(dispatch).await;
        }
    }

    /// A last attempt that was announced as a dead letter and went well. Only then there is anything to forget.
    async fn forget_started(&self, dispatch: &Dispatch) {
        if dispatch.is_last(self.queue) {
            self.letters.forget_started(dispatch).await;
        }
    }
}
