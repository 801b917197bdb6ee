//! The innermost service: reads the payload and runs the job.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tower::service_fn;

use super::Stage;
use super::dispatch::Dispatch;
use super::shutdown::Shutdown;
use super::verdict::Interruption;
use crate::clock::Clock;
use crate::job::{Context, Job, Outcome};
use crate::payload::Payload;

pub(super) fn service<J: Job>(
    job: Arc<J>,
    clock: Clock,
    shutdown: Shutdown,
) -> impl Stage<Dispatch, Result<Outcome, Interruption>> {
    let queue = J::Payload::QUEUE;
    service_fn(move |dispatch: Dispatch| {
        let (job, clock, cancelled) = (job.clone(), clock.clone(), shutdown.begun());
        async move {
            let payload = match dispatch.envelope.payload::<J::Payload>() {
                Ok(payload) => payload,
                Err(error) => return Ok(Err(Interruption::Unusable(error))),
            };
            let context = Context {
                attempt: dispatch.attempt(),
                last_attempt: dispatch.is_last(queue),
                key: dispatch.key,
                occasion: dispatch.occasion,
                clock,
                deadline: Instant::now() + queue.policy().timeout(),
                cancelled,
            };
            // Boxed, so that the layers' types do not contain the job's, which may be deep.
            let run: BoxFuture<'_, _> = Box::pin(job.run(payload, &context));
            Ok(run.await.map_err(Interruption::Failed))
        }
    })
}
