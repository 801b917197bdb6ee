//! Every order in which Redis can see the commands of deliveries that come at the same time, and what may go wrong between
//! two of them.
//!
//! Some processes get the same task. A gate in front of Redis lets one command through at a time. A depth-first search
//! goes through all choices with one fault; seeded random walks go through some with more. Afterwards whatever was not
//! answered is dispatched again, and every successor is followed to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use catchup::queues;
use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use shared::job::{Failure, Outcome};
use shared::queue::Queue;
use sqlx::PgConnection;
use tests::probe::{Numbered, done};
use tests::redis_proxy::{ProxyAction, RedisProxy, Request};
use tests::stack::{REDIS_TOKEN, Service};
use tests::{Answer, Delivery, Probe, Process, Stack};
use tokio::sync::{Notify, oneshot};

const QUEUE: Queue = queues::TOKEN_REFRESH;
/// A lease and its grace are over after this.
const EXPIRY_SECONDS: i64 = 70;
/// Clocks may differ by this much.
const CLOCK_OFF_MS: i64 = 5_000;
/// Older than anything that happens in a run of the search.
const LONGEST_LAG: std::time::Duration = std::time::Duration::from_hours(1);
/// No task is dispatched more often after the search.
const MAX_DISPATCHES: usize = 40;
/// Of the choices of a random walk, this share are faults.
const FAULTY: f64 = 0.25;

/// Holds commands back until the search lets them go.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Notify,
}

#[derive(Default)]
struct GateState {
    waiting: BTreeMap<usize, Waiting>,
    finished: BTreeSet<usize>,
    /// A read that might be answered from before what its process has seen.
    has_unguarded_read: bool,
}

struct Waiting {
    body: String,
    action: oneshot::Sender<ProxyAction>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap()
    }

    async fn pass(self: Arc<Self>, request: Request) -> ProxyAction {
        let client = request.client.trim_start_matches('p').parse().unwrap();
        let (action, decided) = oneshot::channel();
        {
            let mut state = self.state();
            state.has_unguarded_read |= request.body.starts_with(r#"["GET""#) && !request.has_sync_token;
            state.waiting.insert(client, Waiting { body: request.body, action });
        }
        self.changed.notify_one();
        // No one decides over what a killed process, or one that timed out, asked for.
        decided.await.unwrap_or(ProxyAction::Fail)
    }

    fn finish(&self, client: usize) {
        let mut state = self.state();
        state.waiting.remove(&client);
        state.finished.insert(client);
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until every process has either finished or asks Redis something; returns who asks.
    async fn settled(&self, processes: usize) -> Vec<usize> {
        loop {
            {
                let state = self.state();
                if state.waiting.len() + state.finished.len() == processes {
                    return state.waiting.keys().copied().collect();
                }
            }
            self.changed.notified().await;
        }
    }

    fn let_go(&self, client: usize, action: ProxyAction) {
        // One that has timed out asks again.
        let _impatient = self.state().waiting.remove(&client).unwrap().action.send(action);
    }
}

/// Takes the choices of one run.
struct Choices {
    chosen: Vec<usize>,
    open: Vec<usize>,
    random: Option<StdRng>,
}

impl Choices {
    /// The first path in depth-first order.
    fn first() -> Self {
        Self { chosen: Vec::new(), open: Vec::new(), random: None }
    }

    fn random(seed: u64) -> Self {
        Self { random: Some(StdRng::seed_from_u64(seed)), ..Self::first() }
    }

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

    /// One of `open` choices, of which the first `usual` are no faults.
    fn choose(&mut self, usual: usize, open: usize) -> usize {
        let step = self.open.len();
        if step == self.chosen.len() {
            let choice = self.random.as_mut().map(|random| {
                let is_fault = open > usual && random.random_bool(FAULTY);
                random.random_range(if is_fault { usual..open } else { 0..usual })
            });
            self.chosen.push(choice.unwrap_or_default());
        }
        self.open.push(open);
        self.chosen[step]
    }
}

/// What the runs of a task do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Succeed,
    Fail,
    /// Asks for another time once, then succeeds.
    Snooze,
}

/// How the world differs from a kind one in a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    Kind,
    /// The clock of the first process.
    ClockOff(i64),
    /// Redis reads from a replica that is as far behind as the sync token of the read allows.
    Lagging,
}

const WORLDS: [World; 4] =
    [World::Kind, World::ClockOff(CLOCK_OFF_MS), World::ClockOff(-CLOCK_OFF_MS), World::Lagging];

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A process' command is carried out.
    Pass(usize),
    /// It is carried out, and the connection breaks before the answer.
    LoseAnswer(usize),
    /// The process is killed, and its command not carried out.
    KillBefore(usize),
    /// Its command is carried out, and the process killed before the answer.
    KillAfter(usize),
    /// Every lease expires.
    Expire,
    /// Redis evicts the key.
    Evict,
}

/// What is known of the runs of the present task.
#[derive(Default)]
struct Runs {
    begun: u32,
    succeeded: u32,
    /// Processes between the begin of a run and its next command.
    active: BTreeSet<usize>,
    have_overlapped: bool,
}

/// How one run of the search went.
#[derive(Default)]
struct Told {
    steps: Vec<Step>,
    answers: Vec<Answer>,
    successors: BTreeMap<u64, String>,
    last: Option<Answer>,
}

impl Told {
    fn count(&self, is: impl Fn(Step) -> bool) -> u32 {
        u32::try_from(self.steps.iter().filter(|step| is(**step)).count()).unwrap()
    }

    fn kills(&self) -> u32 {
        self.count(|step| matches!(step, Step::KillBefore(_) | Step::KillAfter(_)))
    }
}

struct Search {
    stack: Stack,
    gate: Arc<Mutex<Arc<Gate>>>,
    proxy: RedisProxy,
    work: Work,
    runs: Arc<Mutex<Runs>>,
    processes: Vec<Process>,
    /// Who follows what is left, past the gate.
    direct: Service,
    redis: redis::aio::MultiplexedConnection,
    database: PgConnection,
    gateway: reqwest::Client,
    world: World,
}

impl Search {
    async fn start(work: Work, processes: usize) -> Self {
        let stack = Stack::start().await;
        let gate = Arc::new(Mutex::new(Arc::new(Gate::default())));
        let current = Arc::clone(&gate);
        let proxy = RedisProxy::start(&stack.gateway.url(), move |request| {
            let gate = Arc::clone(&current.lock().unwrap());
            gate.pass(request)
        });
        let runs = Arc::default();
        let direct = stack.service(probe(work, None, &runs));
        let mut search = Self {
            redis: local_cloud::redis::connect(stack.redis.url()).await.unwrap(),
            database: stack.connect().await,
            gateway: shared::http::client(LONGEST_LAG, LONGEST_LAG),
            world: World::Kind,
            processes: Vec::new(),
            stack,
            gate,
            proxy,
            work,
            runs,
            direct,
        };
        search.processes = (0..processes).map(|n| search.process(n)).collect();
        search
    }

    fn process(&self, n: usize) -> Process {
        let redis = [("UPSTASH_REDIS_REST_URL", self.proxy.url(&format!("p{n}")))];
        Process::start(&self.stack, probe(self.work, Some(n), &self.runs), redis)
    }

    /// One run along `choices`, with so many faults.
    async fn run(&mut self, key: &str, choices: &mut Choices, mut faults: u32) -> Told {
        let mut told = Told::default();
        self.stack.reset_clock();
        *self.runs.lock().unwrap() = Runs::default();
        self.world = WORLDS[choices.choose(1, if faults > 0 { WORLDS.len() } else { 1 })];
        faults -= u32::from(self.world != World::Kind);
        let off_ms = if let World::ClockOff(ms) = self.world { ms } else { 0 };
        self.processes[0].set_clock_off(off_ms);
        let lag = if self.world == World::Lagging { LONGEST_LAG } else { std::time::Duration::ZERO };
        self.stack.unkind.set_replica_lag(lag);

        let gate = Arc::new(Gate::default());
        *self.gate.lock().unwrap() = Arc::clone(&gate);
        let delivery = Delivery::new(json!({ "data": { "n": 1 }, "idempotencyKey": key }).to_string());
        let deliver = |(n, process): (usize, &Process)| {
            let (answer, gate) = (process.deliver(delivery.clone()), Arc::clone(&gate));
            tokio::spawn(async move {
                let answer = answer.await;
                gate.finish(n);
                answer
            })
        };
        let deliveries: Vec<_> = self.processes.iter().enumerate().map(deliver).collect();
        let mut untouched: BTreeSet<_> = (0..self.processes.len()).collect();
        let mut read = BTreeSet::new();
        loop {
            let asking = gate.settled(self.processes.len()).await;
            if asking.is_empty() {
                break;
            }
            let reading = self.reading(&gate, key).await;
            // Two commands that change nothing come in one order; a search that tries all need not try the other.
            let repeats = |n: usize| match told.steps.last() {
                Some(Step::Pass(before)) if choices.random.is_none() => {
                    n < *before && read.contains(before) && reading.contains(&n)
                }
                _ => false,
            };
            let news: Vec<_> = asking.iter().copied().filter(|n| !repeats(*n)).collect();
            let steps = if news.is_empty() {
                let mut steps = vec![Step::Pass(asking[0])];
                steps.extend([Step::Expire, Step::Evict].into_iter().filter(|_| faults > 0));
                steps
            } else {
                self.steps(&news, &untouched, faults)
            };
            let usual = steps.iter().filter(|step| matches!(step, Step::Pass(_))).count();
            let step = steps[choices.choose(usual, steps.len())];
            faults = match step {
                Step::Pass(_) if news.is_empty() => 0,
                Step::Pass(_) => faults,
                _ => faults - 1,
            };
            told.steps.push(step);
            read = reading;
            if let Step::Pass(n) | Step::LoseAnswer(n) | Step::KillBefore(n) | Step::KillAfter(n) = step {
                untouched.remove(&n);
                self.runs.lock().unwrap().active.remove(&n);
            }
            self.take(step, &gate, key).await;
        }
        let mut unanswered = Vec::new();
        for delivery_of_it in deliveries {
            match delivery_of_it.await.unwrap() {
                Some(answer) if answer.status == 200 => told.answers.push(answer),
                answer => {
                    told.answers.extend(answer);
                    unanswered.push(delivery.clone().again(1));
                }
            }
        }
        assert!(!gate.state().has_unguarded_read, "a read that a lagging replica may answer anyhow");
        self.processes[0].set_clock_off(0);
        self.follow(unanswered, &mut told).await;
        told.last = Some(self.direct.deliver(delivery.again(9)).await);
        self.stack.unkind.set_replica_lag(std::time::Duration::ZERO);
        told
    }

    /// Who asks for something that would change nothing.
    async fn reading(&mut self, gate: &Gate, key: &str) -> BTreeSet<usize> {
        let exists: bool =
            redis::cmd("EXISTS").arg(redis_key(key)).query_async(&mut self.redis).await.unwrap();
        let reads = |waiting: &Waiting| {
            waiting.body.starts_with(r#"["GET""#) || exists && waiting.body.contains(r#","NX","#)
        };
        gate.state().waiting.iter().filter(|(_, waiting)| reads(waiting)).map(|(n, _)| *n).collect()
    }

    /// What may come next, faults last. Processes that were not heard of yet are alike, and only the first of them comes.
    fn steps(&self, asking: &[usize], untouched: &BTreeSet<usize>, faults: u32) -> Vec<Step> {
        let is_like_an_earlier_one = |n: usize| {
            let differs = |other: usize| other == 0 && matches!(self.world, World::ClockOff(_));
            untouched.contains(&n)
                && asking.iter().any(|other| *other < n && untouched.contains(other) && !differs(*other))
        };
        let asking: Vec<_> = asking.iter().copied().filter(|n| !is_like_an_earlier_one(*n)).collect();
        let mut steps: Vec<_> = asking.iter().copied().map(Step::Pass).collect();
        if faults > 0 {
            steps.extend(asking.iter().copied().map(Step::LoseAnswer));
            steps.extend(asking.iter().copied().map(Step::KillAfter));
            let touched = asking.iter().copied().filter(|n| !untouched.contains(n));
            steps.extend(touched.map(Step::KillBefore));
            if untouched.len() < self.processes.len() {
                steps.extend([Step::Expire, Step::Evict]);
            }
        }
        steps
    }

    async fn take(&mut self, step: Step, gate: &Gate, key: &str) {
        match step {
            Step::Pass(n) => gate.let_go(n, ProxyAction::Pass),
            Step::LoseAnswer(n) => gate.let_go(n, ProxyAction::LoseAnswer),
            Step::KillBefore(n) => self.kill(n, gate).await,
            Step::KillAfter(n) => {
                let command = gate.state().waiting[&n].body.clone();
                let sent = self.gateway.post(self.stack.gateway.url()).bearer_auth(REDIS_TOKEN).body(command);
                sent.send().await.unwrap().error_for_status().unwrap();
                self.kill(n, gate).await;
            }
            Step::Expire => self.stack.advance(EXPIRY_SECONDS),
            Step::Evict if self.world == World::Lagging => {
                self.stack.unkind.evict(&redis_key(key), 1.0).await.unwrap();
            }
            Step::Evict => {
                let evicted = redis::cmd("DEL").arg(redis_key(key)).query_async(&mut self.redis).await;
                let _existed: i64 = evicted.unwrap();
            }
        }
    }

    /// Another process takes its place, for later runs of the search.
    async fn kill(&mut self, n: usize, gate: &Gate) {
        self.processes[n] = self.process(n);
        while !gate.state().finished.contains(&n) {
            gate.changed.notified().await;
        }
    }

    /// Dispatches again what was not answered, and follows every successor, each when it is due.
    async fn follow(&self, mut waiting: Vec<Delivery>, told: &mut Told) {
        loop {
            for task in self.stack.take_tasks(QUEUE).await {
                let n = task.envelope()["n"].as_u64().unwrap();
                let other = told.successors.insert(n, task.task.clone());
                assert_eq!(other, None, "two successors are number {n}: {:?}", told.steps);
                waiting.push(task);
            }
            waiting.sort_by_key(|delivery| delivery.due);
            if waiting.is_empty() {
                return;
            }
            let next = waiting.remove(0);
            assert!(told.answers.len() < MAX_DISPATCHES, "a task without an end: {:?}", told.answers);
            self.stack.advance_to(next.due);
            let answer = self.direct.deliver(next.clone()).await;
            if answer.status != 200 {
                let retries = next.retry_count + 1;
                let due = Some(self.stack.now() + TimeDelta::seconds(30));
                waiting.push(Delivery { due, ..next.again(retries) });
            }
            told.answers.push(answer);
        }
    }

    /// Compares what happened with what must be true.
    async fn check(&mut self, key: &str, told: &Told) -> Result<(), String> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT kind FROM jobs.failures WHERE function = $1 AND key = $2")
                .bind(QUEUE.name())
                .bind(key)
                .fetch_all(&mut self.database)
                .await
                .unwrap();
        let dead_letters: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs.dead_letters WHERE key = $1")
            .bind(key)
            .fetch_one(&mut self.database)
            .await
            .unwrap();
        let rows_of = |kind: &str| u32::try_from(rows.iter().filter(|(row,)| row == kind).count()).unwrap();
        let (failed, killed) = (rows_of("failed"), rows_of("killed"));
        let runs = self.runs.lock().unwrap();
        let (kills, attempts) = (told.kills(), QUEUE.policy().attempts);
        let [lost, expired, evicted] = [
            told.count(|step| matches!(step, Step::LoseAnswer(_))),
            told.count(|step| step == Step::Expire),
            told.count(|step| step == Step::Evict),
        ];
        // Of a command whose answer is lost twice, Redis is unavailable.
        let is_lease_kept = expired + evicted == 0 && lost < 2;
        let excess = expired + evicted + lost / 2;
        let end = told.last.as_ref().map(Answer::outcome).unwrap_or_default();
        let ensure = |holds: bool, what: &str| {
            let facts = format!(
                "failed {failed}, killed {killed}, begun {}, dead letters {dead_letters}, end {end}",
                runs.begun
            );
            if holds { Ok(()) } else { Err(format!("{what}: {facts}")) }
        };
        ensure(!is_lease_kept || !runs.have_overlapped, "two runs at the same time under one lease")?;
        // One that was frozen for longer than its lease before it began has nothing to say for itself.
        ensure(killed <= kills + expired, "more runs recorded as killed than were killed")?;
        ensure(rows_of("started") == 0, "a run was recorded as if it were not known")?;
        match self.work {
            Work::Fail => {
                ensure(failed == runs.begun, "one row for each failed run")?;
                ensure(failed + killed >= attempts, "dead with attempts left")?;
                ensure(failed + killed <= attempts + excess, "more runs than attempts")?;
                ensure(dead_letters == 1, "one dead letter")?;
                ensure(["dead", "duplicate"].contains(&end), "it ends dead")?;
            }
            Work::Succeed | Work::Snooze => {
                let wanted = if self.work == Work::Snooze { 2 } else { 1 };
                ensure(failed == 0, "nothing failed")?;
                ensure(
                    dead_letters == 0 || kills + expired >= attempts,
                    "a dead letter for a task that succeeded",
                )?;
                ensure(runs.succeeded > 0 || dead_letters == 1, "neither done nor dead")?;
                ensure(runs.begun <= wanted + excess + kills, "more runs than needed")?;
                ensure(end == "duplicate" || dead_letters + i64::from(evicted) > 0, "it ends done")?;
            }
        }
        Ok(())
    }
}

fn redis_key(key: &str) -> String {
    format!("jobs:{}:{key}", QUEUE.name())
}

/// The job of a process, or of the deliveries that follow.
fn probe(work: Work, process: Option<usize>, runs: &Arc<Mutex<Runs>>) -> Probe<Numbered> {
    let runs = Arc::clone(runs);
    Probe::new(move |context| {
        let mut runs = runs.lock().unwrap();
        runs.begun += 1;
        runs.have_overlapped |= !runs.active.is_empty();
        runs.active.extend(process);
        let outcome = match work {
            Work::Fail => Err(Failure::transient("no luck")),
            Work::Snooze if runs.begun == 1 => Ok(Outcome::Snooze(context.now() + TimeDelta::minutes(1))),
            Work::Snooze | Work::Succeed => {
                runs.succeeded += 1;
                done()
            }
        };
        std::future::ready(outcome)
    })
}

/// Goes through all choices with so many faults.
async fn every_order(work: Work, processes: usize, faults: u32, at_least: usize) {
    let started = std::time::Instant::now();
    let mut search = Search::start(work, processes).await;
    let (mut choices, mut orders, mut runs) = (Choices::first(), 0, 0);
    loop {
        let key = format!("key-{orders}");
        let told = search.run(&key, &mut choices, faults).await;
        if let Err(what) = search.check(&key, &told).await {
            panic!("{what}\nworld {:?}, {:?}\n{:#?}", search.world, told.steps, told.answers);
        }
        orders += 1;
        runs += search.runs.lock().unwrap().begun;
        match choices.next() {
            Some(next) => choices = next,
            None => break,
        }
    }
    println!(
        "{work:?}, {processes} processes, {faults} faults: {orders} orders, {runs} runs, {:?}",
        started.elapsed()
    );
    assert!(orders >= at_least, "only {orders} orders were tried");
}

/// Takes some paths with so many faults at random.
async fn random_orders(work: Work, faults: u32, seeds: std::ops::Range<u64>) {
    let started = std::time::Instant::now();
    let mut search = Search::start(work, 3).await;
    let (mut steps, mut runs, mut taken) = (0, 0, 0);
    for seed in seeds.clone() {
        let key = format!("key-{seed}");
        let told = search.run(&key, &mut Choices::random(seed), faults).await;
        if let Err(what) = search.check(&key, &told).await {
            panic!("seed {seed}: {what}\nworld {:?}, {:?}\n{:#?}", search.world, told.steps, told.answers);
        }
        steps += told.steps.len();
        taken += told.count(|step| !matches!(step, Step::Pass(_))) + u32::from(search.world != World::Kind);
        runs += search.runs.lock().unwrap().begun;
    }
    println!(
        "{work:?}, seeds {seeds:?}: {steps} steps, {taken} faults, {runs} runs, {:?}",
        started.elapsed()
    );
    let walks = u32::try_from(seeds.end - seeds.start).unwrap();
    assert!(taken > walks, "{walks} walks took {taken} faults: none took a second one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_once_in_every_order_with_any_one_fault() {
    every_order(Work::Succeed, 3, 1, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_fails_as_often_as_it_may_in_every_order_with_any_one_fault() {
    every_order(Work::Fail, 3, 0, 10).await;
    // Three, with a fault, take minutes.
    every_order(Work::Fail, 2, 1, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_is_done_in_every_order_with_any_one_fault() {
    every_order(Work::Snooze, 3, 0, 10).await;
    every_order(Work::Snooze, 2, 1, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_at_the_same_time_a_task_is_done_once() {
    random_orders(Work::Succeed, 2, 0..100).await;
    random_orders(Work::Succeed, 3, 1_000..1_200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_at_the_same_time_a_task_fails_as_often_as_it_may() {
    random_orders(Work::Fail, 2, 0..80).await;
    random_orders(Work::Fail, 3, 1_000..1_200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_at_the_same_time_a_task_that_waits_is_done() {
    random_orders(Work::Snooze, 2, 0..80).await;
    random_orders(Work::Snooze, 3, 1_000..1_200).await;
}
