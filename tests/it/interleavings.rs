//! Every order in which Redis can see the commands of deliveries that come at the same time.
//!
//! Three processes get the same task. A gate in front of Redis lets one command through at a time; a depth-first search
//! goes through all choices, with and without answers that get lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::json;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use tests::probe::{Numbered, done};
use tests::redis_proxy::{Fate, RedisProxy};
use tests::stack::Service;
use tests::{Answer, Delivery, Probe, Stack};
use tokio::sync::{Notify, oneshot};

const PROCESSES: usize = 3;

/// Holds commands back until the search lets them go.
#[derive(Default)]
struct Gate {
    waiting: Mutex<BTreeMap<String, oneshot::Sender<Fate>>>,
    finished: Mutex<BTreeSet<String>>,
    changed: Notify,
}

impl Gate {
    async fn pass(self: Arc<Self>, client: String) -> Fate {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(client, sender);
        self.changed.notify_one();
        receiver.await.unwrap()
    }

    fn finish(&self, client: String) {
        self.finished.lock().unwrap().insert(client);
        self.changed.notify_one();
    }

    /// Waits until every process has either finished or asks Redis something; answers who asks.
    async fn settled(&self) -> Vec<String> {
        loop {
            {
                let (waiting, finished) = (self.waiting.lock().unwrap(), self.finished.lock().unwrap());
                if waiting.len() + finished.len() == PROCESSES {
                    return waiting.keys().cloned().collect();
                }
            }
            self.changed.notified().await;
        }
    }

    fn let_go(&self, client: &str, fate: Fate) {
        self.waiting.lock().unwrap().remove(client).unwrap().send(fate).unwrap();
    }
}

/// The choices of one run, and how many there were at each step.
#[derive(Default)]
struct Path {
    chosen: Vec<usize>,
    open: Vec<usize>,
}

impl Path {
    /// The next path in depth-first order.
    fn next(mut self) -> Option<Self> {
        while let (Some(chosen), Some(open)) = (self.chosen.pop(), self.open.pop()) {
            if chosen + 1 < open {
                self.chosen.push(chosen + 1);
                self.open.clear();
                return Some(self);
            }
        }
        None
    }

    fn choose(&mut self, step: usize, open: usize) -> usize {
        if step == self.chosen.len() {
            self.chosen.push(0);
        }
        self.open.push(open);
        self.chosen[step]
    }
}

struct Search {
    stack: Stack,
    gate: Arc<Mutex<Arc<Gate>>>,
    proxy: RedisProxy,
}

impl Search {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let gate = Arc::new(Mutex::new(Arc::new(Gate::default())));
        let current = Arc::clone(&gate);
        let proxy = RedisProxy::start(&stack.gateway.url(), move |request| {
            let gate = Arc::clone(&current.lock().unwrap());
            gate.pass(request.client)
        });
        Self { stack, gate, proxy }
    }

    fn processes(&self, probe: &Probe<Numbered>) -> Vec<Service> {
        (0..PROCESSES)
            .map(|n| {
                let url = self.proxy.url(&format!("p{n}"));
                self.stack.service_with(probe.clone(), [("UPSTASH_REDIS_REST_URL", url)])
            })
            .collect()
    }

    /// One run along `path`. `lost` answers may break off, each of them at a choice of the search.
    async fn run(&self, services: &[Service], key: &str, path: &mut Path, mut lost: usize) -> Vec<Answer> {
        let gate = Arc::new(Gate::default());
        *self.gate.lock().unwrap() = Arc::clone(&gate);
        let delivery = Delivery::new(json!({ "data": { "n": 1 }, "idempotencyKey": key }).to_string());
        let deliveries: Vec<_> = services
            .iter()
            .enumerate()
            .map(|(n, service)| {
                let (service, delivery, gate) = (service.clone(), delivery.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    let answer = service.deliver(delivery).await;
                    gate.finish(format!("p{n}"));
                    answer
                })
            })
            .collect();
        for step in 0.. {
            let asking = gate.settled().await;
            if asking.is_empty() {
                break;
            }
            let fates = if lost > 0 { 2 } else { 1 };
            let choice = path.choose(step, asking.len() * fates);
            let fate = if choice / asking.len() == 0 { Fate::Pass } else { Fate::LoseAnswer };
            lost -= usize::from(fate == Fate::LoseAnswer);
            gate.let_go(&asking[choice % asking.len()], fate);
        }
        let mut answers = Vec::new();
        for delivery in deliveries {
            answers.push(delivery.await.unwrap());
        }
        answers
    }
}

async fn every_order(lost: usize, at_least: usize, outcome: fn() -> Result<Outcome, Failure>, effects: u32) {
    let search = Search::start().await;
    let probe = Probe::<Numbered>::answering(outcome);
    let services = search.processes(&probe);
    let direct = search.stack.service(probe.clone());
    let (mut path, mut orders) = (Path::default(), 0);
    loop {
        let before = probe.runs();
        let key = format!("key-{orders}");
        let mut answers = search.run(&services, &key, &mut path, lost).await;
        // What met a lease is back when that has expired.
        for next in search.stack.take_tasks(Queue::TokenRefresh).await {
            search.stack.advance_to(next.due);
            answers.extend(search.stack.follow(&direct, next).await);
        }
        let told = || format!("order {:?}: {answers:?}", path.chosen);
        assert!(answers.iter().all(|answer| answer.status == 200), "{}", told());
        assert_eq!(probe.runs() - before, effects, "{}", told());
        assert_eq!(search.stack.take_tasks(Queue::TokenRefresh).await.len(), 0, "{}", told());
        orders += 1;
        match path.next() {
            Some(next) => path = next,
            None => break,
        }
    }
    assert!(orders >= at_least, "only {orders} orders were tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_happens_once_in_every_order_of_claim_and_settle() {
    every_order(0, 30, done, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_happens_once_in_every_order_also_when_an_answer_of_redis_gets_lost() {
    every_order(1, 150, done, 1).await;
}
