//! Runs a task only if it is ours, keeps it ours while it runs, and settles it after.

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tower::{Layer, layer::layer_fn, service_fn};

use super::comeback::{Comeback, Then};
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
    pub(super) claim: Settlement,
    pub(super) then: Then,
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
        let claim = self.claims.claim(&dispatch.key, &dispatch.envelope.payload_hash(), policy.lease()).await;
        match claim {
            Ok(Claim::Mine(lease)) => self.run_under(lease, inner, dispatch).await,
            Ok(Claim::Done(result)) => self.end(&dispatch, Then::Answer(Verdict::Duplicate(result))).await,
            Ok(Claim::Leased { until, lease }) => {
                let way = self.comeback.after_lease(&dispatch, until, &lease);
                self.comeback.send(&dispatch, way).await
            }
            Ok(Claim::OtherPayload) => {
                let error = "the key belongs to another payload";
                let then = self.letters.failed(&dispatch, "key_reused", error).await;
                self.end(&dispatch, then).await
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
        let then = match self.queue.policy().when_redis_is_down {
            WhenRedisIsDown::Hold => self.comeback.after_outage(&dispatch, "redis", RETRY_AFTER),
            WhenRedisIsDown::Continue => call(inner, dispatch.clone()).await.then,
        };
        self.end(&dispatch, then).await
    }

    async fn run_under(
        &self,
        mut lease: Lease,
        inner: impl Stage<Dispatch, Ending>,
        dispatch: Dispatch,
    ) -> Verdict {
        let Some(ending) = self.keep_while(&mut lease, call(inner, dispatch.clone())).await else {
            // Not this delivery's any more, and neither is an announcement: nothing but the way back is left to do.
            let way = self.comeback.now(&dispatch, "lease_lost");
            return self.comeback.send(&dispatch, way).await;
        };
        let settled = match ending.claim {
            Settlement::Settle(result) => self.claims.settle(lease, &result).await,
            Settlement::Release => self.claims.release(lease).await,
        };
        match settled {
            Ok(Held::Yes) => {}
            // The effect is there and the verdict stands; another delivery may have begun beside this one.
            Ok(Held::No) => tracing::warn!("lease had ended before the task was settled"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "task could not be settled");
            }
        }
        self.end(&dispatch, ending.then).await
    }

    /// Renews the lease while the job outlasts half of it. `None` when it is another one's: then the job is dropped, for
    /// another delivery is at it.
    async fn keep_while<T>(&self, lease: &mut Lease, run: impl Future<Output = T>) -> Option<T> {
        let time = self.queue.policy().lease();
        let mut run = pin!(run);
        loop {
            tokio::select! {
                output = &mut run => return Some(output),
                () = tokio::time::sleep(time / 2) => {}
            }
            // The renewal runs beside the job: a slow Redis must not hold it up.
            let mut renewal = pin!(self.claims.renew(lease, time));
            let renewed = tokio::select! {
                output = &mut run => {
                    // Its answer decides which value the settlement has to name.
                    let _logged_by_the_settlement = renewal.await;
                    return Some(output);
                }
                renewed = &mut renewal => renewed,
            };
            match renewed {
                Ok(Held::Yes) => {}
                Ok(Held::No) => {
                    tracing::warn!("lease was lost while the task ran");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lease was not renewed");
                }
            }
        }
    }

    /// Sends the task on if it comes back, and takes an announced death back if it is not dead after all.
    async fn end(&self, dispatch: &Dispatch, then: Then) -> Verdict {
        let verdict = match then {
            Then::Answer(verdict) => verdict,
            Then::ComeBack(way) => self.comeback.send(dispatch, way).await,
        };
        let stays_announced = matches!(verdict, Verdict::Dead(_) | Verdict::Retry(_));
        if dispatch.is_last(self.queue) && !stays_announced {
            self.letters.forget_started(dispatch).await;
        }
        verdict
    }
}
