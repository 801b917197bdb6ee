//! Interrupts a job when its time is over: before Cloud Tasks stops listening.

use std::time::Duration;

use tower::{Layer, layer::layer_fn, service_fn};

use super::dispatch::Dispatch;
use super::verdict::Interruption;
use super::{Stage, call};
use crate::job::Outcome;

pub(super) fn layer<S: Stage<Dispatch, Result<Outcome, Interruption>>>(
    time: Duration,
) -> impl Layer<S, Service: Stage<Dispatch, Result<Outcome, Interruption>>> + Clone {
    layer_fn(move |inner: S| {
        service_fn(move |dispatch: Dispatch| {
            let inner = inner.clone();
            async move {
                let outcome = tokio::time::timeout(time, call(inner, dispatch)).await;
                Ok(outcome.unwrap_or(Err(Interruption::TimedOut)))
            }
        })
    })
}
