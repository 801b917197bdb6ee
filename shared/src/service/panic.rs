//! Turns a job's panic into a failed attempt; the service lives on.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tower::{Layer, layer::layer_fn, service_fn};

use super::dispatch::Dispatch;
use super::verdict::Interruption;
use super::{Stage, call};
use crate::job::Outcome;

pub(super) fn layer<S: Stage<Dispatch, Result<Outcome, Interruption>>>()
-> impl Layer<S, Service: Stage<Dispatch, Result<Outcome, Interruption>>> + Clone {
    layer_fn(|inner: S| {
        service_fn(move |dispatch: Dispatch| {
            let inner = inner.clone();
            async move {
                // What a job shares with others are handles on pools and connections, which outlive a panic.
                let outcome = AssertUnwindSafe(call(inner, dispatch)).catch_unwind().await;
                Ok(outcome.unwrap_or(Err(Interruption::Panicked)))
            }
        })
    })
}
