//! A job that does what a test says.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use catchup::queues;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::config::InvalidConfig;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::Queue;

/// A payload on a queue with 3 attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Numbered {
    /// Anything.
    pub n: u32,
}

impl Payload for Numbered {
    const QUEUE: Queue = queues::TOKEN_REFRESH;
}

/// The same on another queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Anything.
    pub n: u32,
}

impl Payload for Elsewhere {
    const QUEUE: Queue = queues::NOTIFICATION_REMINDER;
}

/// The second version of a payload, whose field `number` was called `n` in the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Renamed {
    /// Anything.
    pub number: u32,
}

impl Payload for Renamed {
    const QUEUE: Queue = queues::TOKEN_REFRESH;
    const VERSION: u32 = 2;

    fn upgrade(_from: u32, value: serde_json::Value) -> serde_json::Value {
        json!({ "number": value["n"] })
    }
}

/// What a job returns that succeeded.
pub fn done() -> Result<Outcome, Failure> {
    Ok(Outcome::Done(json!({ "n": 7 })))
}

type Act = dyn Fn(Context) -> BoxFuture<'static, Result<Outcome, Failure>> + Send + Sync;

/// A job that does what a test says, and counts its runs.
pub struct Probe<P> {
    act: Arc<Act>,
    runs: Arc<AtomicU32>,
    payload: PhantomData<fn() -> P>,
}

impl<P> Clone for Probe<P> {
    fn clone(&self) -> Self {
        Self { act: Arc::clone(&self.act), runs: Arc::clone(&self.runs), payload: PhantomData }
    }
}

impl<P: Payload> Probe<P> {
    /// Does `act` on each run.
    pub fn new<F>(act: impl Fn(Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        Self {
            act: Arc::new(move |context| Box::pin(act(context))),
            runs: Arc::default(),
            payload: PhantomData,
        }
    }

    /// Returns the same each time.
    pub fn answering(outcome: impl Fn() -> Result<Outcome, Failure> + Send + Sync + 'static) -> Self {
        Self::new(move |_| std::future::ready(outcome()))
    }

    /// How often it ran, clones included.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

impl<P: Payload> Job for Probe<P> {
    type Payload = P;

    fn new(_: &mut Setup) -> Result<Self, InvalidConfig> {
        Err(InvalidConfig)
    }

    async fn run(&self, _: P, context: &Context) -> Result<Outcome, Failure> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.act)(context.clone()).await
    }
}
