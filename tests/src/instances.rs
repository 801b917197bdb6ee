//! Instances of a function as Cloud Run keeps them: real processes behind one address, each started again when it dies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catchup::queues;
use local_cloud::Background;
use local_cloud::functions::{FunctionProcess, TaskLine, built_programs};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::stack::Stack;

/// A busy machine takes seconds to start a process.
const ATTEMPTS: usize = 1_500;
const POLL: Duration = Duration::from_millis(20);

/// Instances of the function that acts; they end when this is dropped.
pub struct Instances {
    front: Background,
    processes: Arc<Mutex<Vec<FunctionProcess>>>,
    has_ended: Arc<AtomicBool>,
}

impl Instances {
    /// Starts `count` of them on the stack, with other values for some variables; each takes as many connections as the
    /// others.
    pub async fn start(
        stack: &Stack,
        count: usize,
        other: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let mut environment: BTreeMap<&'static str, String> = stack.environment();
        environment.insert("OIDC_ISSUER", stack.tasks.url());
        environment.insert("OIDC_JWKS_URL", stack.tasks.jwks_url());
        environment.insert("SERVICE_ACCOUNT_EMAIL", stack.tasks.settings().caller.clone());
        environment.extend(other);
        let folder = built_programs().expect("this test was built");
        let logs: PathBuf = folder.join("test-logs").join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir_all(&logs).expect("logs can be written");
        let mut processes = Vec::new();
        for n in 0..count {
            let log = logs.join(format!("{n}.log"));
            let process =
                FunctionProcess::spawn(queues::TOKEN_REFRESH, &folder.join("acting"), &environment, &log);
            processes.push(process.expect("the function starts"));
        }
        for process in &mut processes {
            process.ready().await.expect("the function is ready");
        }
        let addresses: Vec<_> = processes.iter().map(|process| process.address()).collect();
        let processes = Arc::new(Mutex::new(processes));
        let has_ended = Arc::new(AtomicBool::new(false));
        tokio::spawn(supervise(Arc::clone(&processes), Arc::clone(&has_ended)));
        let front = Background::start("instances", move |listener| async move {
            let next = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, addresses.clone(), Arc::clone(&next)));
            }
            Ok::<_, std::io::Error>(())
        });
        Self { front: front.expect("loopback is available"), processes, has_ended }
    }

    /// Where all of them are.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.front.url().trim_start_matches("http://").parse().expect("an address")
    }

    /// The canonical lines of all of them.
    #[must_use]
    pub fn lines(&self) -> Vec<TaskLine> {
        self.with(|processes| processes.iter().flat_map(|process| process.lines()).collect())
    }

    /// Kills the `n`-th where it stands; it is started again.
    pub fn kill(&self, n: usize) {
        self.with(|processes| processes[n].kill().expect("processes of ours can be killed"));
    }

    /// Stops the `n`-th from doing anything until [`Instances::thaw`]. No peer notices: its connections stay open.
    pub fn freeze(&self, n: usize) {
        self.with(|processes| processes[n].freeze());
    }

    /// Lets the `n`-th continue.
    pub fn thaw(&self, n: usize) {
        self.with(|processes| processes[n].thaw());
    }

    /// Does something to the processes.
    pub fn with<T>(&self, act: impl FnOnce(&mut Vec<FunctionProcess>) -> T) -> T {
        act(&mut self.processes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.with(Vec::clear);
    }
}

/// Starts again whatever died.
async fn supervise(processes: Arc<Mutex<Vec<FunctionProcess>>>, has_ended: Arc<AtomicBool>) {
    while !has_ended.load(Ordering::SeqCst) {
        for process in processes.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if process.ended().is_ok_and(|status| status.is_some()) {
                process.respawn().expect("the function starts again");
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// One connection goes to one instance; a dead one is skipped, and a new one waited for.
async fn forward(mut caller: TcpStream, addresses: Vec<SocketAddr>, next: Arc<AtomicUsize>) {
    for _ in 0..ATTEMPTS {
        let n = next.fetch_add(1, Ordering::SeqCst) % addresses.len();
        if let Ok(mut instance) = TcpStream::connect(addresses[n]).await {
            let _ended = copy_bidirectional(&mut caller, &mut instance).await;
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}
