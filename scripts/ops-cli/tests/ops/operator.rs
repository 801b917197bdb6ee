//! An operator with the command line in front of a real system: Postgres, Redis, Cloud Tasks and a function.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use local_cloud::Background;
use serde_json::{Value, json};
use shared::job::{Failure, Job, Outcome};
use shared::payload::Payload;
use shared::queue::Queue;
use tests::probe::{Numbered, done};
use tests::{Delivery, Probe, Stack, within};
use url::Url;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Both streams.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Calls `ops` with this environment and no other.
pub(crate) fn ops_with(environment: &BTreeMap<&'static str, String>, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ops"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").envs(environment).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// The system.
pub(crate) struct System {
    pub(crate) stack: Stack,
    /// Its job fails for good until this is true.
    is_fixed: Arc<AtomicBool>,
    pub(crate) probe: Probe<Numbered>,
    function: Background,
}

impl System {
    /// The queue of the only function that runs.
    pub(crate) const QUEUE: Queue = Numbered::QUEUE;

    pub(crate) async fn start() -> Self {
        let stack = Stack::start().await;
        let is_fixed = Arc::new(AtomicBool::new(false));
        let fixed = Arc::clone(&is_fixed);
        let probe = Probe::answering(move || -> Result<Outcome, Failure> {
            if fixed.load(Ordering::SeqCst) {
                done()
            } else {
                Err(Failure::permanent("the vendor refuses it"))
            }
        });
        let function = serve(&stack, probe.clone()).await;
        Self { stack, is_fixed, probe, function }
    }

    /// Leads the tasks of all queues to the function, as in a project in which all are taken over.
    pub(crate) async fn route_all(&self) {
        for queue in catchup::queues::all() {
            self.stack.tasks.route(queue, self.function.address()).await.unwrap();
        }
    }

    /// The cause of the failures is gone.
    pub(crate) fn fix(&self) {
        self.is_fixed.store(true, Ordering::SeqCst);
    }

    /// What an operator's shell has, as `scripts/up` writes it.
    pub(crate) fn environment(&self) -> BTreeMap<&'static str, String> {
        self.stack.environment()
    }

    /// The same, for a database user who has no more than an operator's role, whose name is returned, too.
    pub(crate) async fn environment_of_operator(&self) -> (BTreeMap<&'static str, String>, String) {
        let role = format!("operator-{}", Uuid::new_v4());
        self.stack.run(&format!("CREATE ROLE \"{role}\" LOGIN")).await;
        self.succeeds(&["migrate", "--operator", &role]);
        let mut environment = self.environment();
        let mut url: Url = environment["DATABASE_URL"].parse().unwrap();
        url.set_username(&role).unwrap();
        environment.insert("DATABASE_URL", url.to_string());
        (environment, role)
    }

    /// Calls `ops`.
    pub(crate) fn ops(&self, arguments: &[&str]) -> Said {
        ops_with(&self.environment(), arguments)
    }

    /// Calls `ops`, which succeeds.
    #[track_caller]
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> Said {
        let said = self.ops(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }

    /// Creates a task, and waits until it has ended: the queue is empty.
    pub(crate) async fn run_task(&self, data: &Value) {
        let body = Delivery::of(Self::QUEUE, data).body;
        self.stack.tasks.create(Self::QUEUE, body.as_bytes()).await.unwrap();
        self.until_idle().await;
    }

    /// Waits until the function has nothing to do.
    pub(crate) async fn until_idle(&self) {
        let is_idle = async || self.stack.tasks.count(Self::QUEUE).await.unwrap() == 0;
        within(LIMIT, "the queue is empty", is_idle).await;
    }

    /// Makes so many dead letters, each about a user of its own.
    pub(crate) async fn fail(&self, tasks: u32) {
        for n in 1..=tasks {
            self.run_task(&json!({ "n": n, "userId": user(n) })).await;
        }
    }
}

/// The n-th user.
pub(crate) fn user(n: u32) -> Uuid {
    Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 + u128::from(n))
}

/// Serves the job to the queue's tasks, as its function does.
pub(crate) async fn serve<J: Job>(stack: &Stack, job: J) -> Background {
    let issuer = [("OIDC_ISSUER", stack.tasks.url()), ("OIDC_JWKS_URL", stack.tasks.jwks_url())];
    let router = stack.service_with(job, issuer).router;
    let function = Background::start("function", async |listener| axum::serve(listener, router).await);
    let function = function.unwrap();
    stack.tasks.route(J::Payload::QUEUE, function.address()).await.unwrap();
    function
}
