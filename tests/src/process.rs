//! An instance of a function inside the process of the test, which can be killed where it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use local_cloud::OwnRuntime;
use shared::job::{Job, Setup};

use crate::stack::{Answer, Delivery, Service, Stack};

/// An instance. It is killed when this is dropped, and then nothing of it runs any more.
pub struct Process {
    service: Service,
    /// Everything that it does is done here, so that nothing is left of it without.
    runtime: OwnRuntime,
    off_ms: Arc<AtomicI64>,
}

impl Process {
    /// Starts one on the stack, with other values for some variables.
    pub fn start<J: Job>(
        stack: &Stack,
        job: J,
        other: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        Self::start_with(stack, |_| job, other)
    }

    /// The same with a job that is made inside the instance, so that what the job holds dies with it.
    pub fn start_with<J: Job>(
        stack: &Stack,
        job: impl FnOnce(&mut Setup) -> J,
        other: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let other: Vec<_> = other.into_iter().collect();
        let runtime = OwnRuntime::start("process").expect("a thread can be started");
        let off_ms = Arc::default();
        let service = {
            let _inside = runtime.enter();
            let job = job(&mut stack.setup(other.clone()));
            stack.service_with_clock(job, other, &off_ms)
        };
        Self { service, runtime, off_ms }
    }

    /// Lets its clock differ from those of the others.
    pub fn set_clock_off(&self, ms: i64) {
        self.off_ms.store(ms, Ordering::SeqCst);
    }

    /// Delivers a task to it, immediately; the answer is `None` if it is killed before.
    pub fn deliver(&self, delivery: Delivery) -> impl Future<Output = Option<Answer>> + Send + 'static {
        let service = self.service.clone();
        let answer = self.runtime.spawn(async move { service.deliver(delivery).await });
        async move {
            match answer.await {
                Ok(answer) => Some(answer),
                Err(error) if error.is_cancelled() => None,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}
