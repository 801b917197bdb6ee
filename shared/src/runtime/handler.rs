//! The job behind its payload's type: everything else is compiled once, and not for each function again.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::envelope::{self, Envelope};
use crate::job::{Context, Failure, Job, Outcome};

type Run = dyn FnOnce(Context) -> BoxFuture<'static, Result<Outcome, Failure>> + Send;

/// A job that is ready to run on a payload.
pub(super) struct Prepared {
    /// Runs it.
    pub(super) run: Box<Run>,
}

/// Reads payloads of the job's type.
pub(super) trait Handler: Send + Sync {
    /// Reads the payload.
    fn prepare(&self, envelope: &Envelope) -> Result<Prepared, envelope::Error>;
}

/// The handler of a job.
pub(super) fn of<J: Job>(job: J) -> Box<dyn Handler> {
    Box::new(Typed(Arc::new(job)))
}

struct Typed<J>(Arc<J>);

impl<J: Job> Handler for Typed<J> {
    fn prepare(&self, envelope: &Envelope) -> Result<Prepared, envelope::Error> {
        let (job, payload) = (Arc::clone(&self.0), envelope.payload::<J::Payload>()?);
        let run: Box<Run> =
            Box::new(move |context| Box::pin(async move { job.run(payload, &context).await }));
        Ok(Prepared { run })
    }
}
