//! An instance of a function inside the process of the test, which can be killed where it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use shared::job::Job;
use tokio::runtime::{Builder, Runtime};

use crate::stack::{Answer, Delivery, Service, Stack};

/// An instance. It is killed when this is dropped.
pub struct Process {
    service: Service,
    /// Everything that it does is done here, so that nothing is left of it without.
    runtime: Option<Runtime>,
    off_ms: Arc<AtomicI64>,
}

impl Process {
    /// Starts one on the stack, with other values for some variables.
    pub fn start<J: Job>(
        stack: &Stack,
        job: J,
        other: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("process")
            .enable_all()
            .build()
            .expect("a thread can be started");
        let off_ms = Arc::default();
        let service = {
            let _inside = runtime.enter();
            stack.service_with_clock(job, other, &off_ms)
        };
        Self { service, runtime: Some(runtime), off_ms }
    }

    /// Lets its clock differ from those of the others.
    pub fn set_clock_off(&self, ms: i64) {
        self.off_ms.store(ms, Ordering::SeqCst);
    }

    /// Delivers a task to it, immediately; the answer is `None` if it is killed before.
    pub fn deliver(&self, delivery: Delivery) -> impl Future<Output = Option<Answer>> + Send + 'static {
        let (service, runtime) = (self.service.clone(), self.runtime.as_ref().expect("it lives"));
        let answer = runtime.spawn(async move { service.deliver(delivery).await });
        async move {
            match answer.await {
                Ok(answer) => Some(answer),
                Err(error) if error.is_cancelled() => None,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
