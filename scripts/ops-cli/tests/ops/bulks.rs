//! Replays and discards of many dead letters: cut off anywhere, continued by anyone, each dead letter once.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use local_cloud::Background;
use rand::RngExt as _;
use reqwest::Client;
use serde_json::{Value, json};
use shared::payload::Payload as _;
use shared::queue::Queue;
use tests::probe::{Elsewhere, done};
use tests::{Probe, Stack, within};

use crate::console::Console;
use crate::operator::{Said, ops_with, serve};

/// A queue that dispatches as fast as Cloud Tasks can.
const QUEUE: Queue = Elsewhere::QUEUE;
const FASTEST: &str = "500";
/// So slow that whatever the test does meanwhile, the bulk has not ended.
const SLOWEST: &str = "1";
/// A run is killed within this time after a call.
const LATER_MS: u64 = 20;
const LIMIT: Duration = Duration::from_mins(10);
/// Dead letters that a run changes at the same time.
const AT_A_TIME: u32 = 20;
/// What the body of a task has that the front refuses.
const REFUSED: &str = "refused";

/// Stands before Cloud Tasks, counts the calls that create tasks, and refuses some.
struct Front {
    server: Background,
    creations: Arc<AtomicU32>,
    /// Status for all; 0 refuses none but what is [`REFUSED`].
    status: Arc<AtomicU16>,
}

impl Front {
    fn start(target: String) -> Self {
        let (creations, status) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU16::new(0)));
        let (counted, refusing) = (Arc::clone(&creations), Arc::clone(&status));
        let http = tests::http::client();
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let is_creation = method == Method::POST && uri.path().ends_with("/tasks");
            counted.fetch_add(u32::from(is_creation), Ordering::SeqCst);
            let status = if is_creation && is_refused(&body) { 400 } else { refusing.load(Ordering::SeqCst) };
            let (http, url) = (http.clone(), format!("{target}{uri}"));
            async move {
                match StatusCode::from_u16(status) {
                    Ok(status) => (status, r#"{"error":{"status":"REFUSED"}}"#).into_response(),
                    Err(_none) => pass(&http, method, &url, body).await,
                }
            }
        });
        let server = Background::start("front", async |listener| axum::serve(listener, router).await);
        Self { server: server.unwrap(), creations, status }
    }
}

async fn pass(http: &Client, method: Method, url: &str, body: Bytes) -> Response {
    let request = http.request(method, url).header("content-type", "application/json").body(body);
    let response = request.send().await.unwrap();
    (response.status(), response.bytes().await.unwrap()).into_response()
}

fn is_refused(creation: &[u8]) -> bool {
    let creation: Value = serde_json::from_slice(creation).unwrap();
    let body = BASE64_STANDARD.decode(creation["task"]["httpRequest"]["body"].as_str().unwrap()).unwrap();
    String::from_utf8(body).unwrap().contains(REFUSED)
}

/// Dead letters, what replays them, and the function that runs them then.
struct Incident {
    stack: Stack,
    front: Front,
    probe: Probe<Elsewhere>,
    _function: Background,
}

impl Incident {
    /// With so many dead letters.
    async fn start(dead_letters: u32) -> Self {
        let stack = Stack::start().await;
        let probe = Probe::answering(done);
        let function = serve(&stack, probe.clone()).await;
        let front = Front::start(stack.tasks.url());
        stack
            .run(&format!(
                r#"INSERT INTO jobs.dead_letters (id, function, key, state, deaths, reason, error, fingerprint, body)
                   SELECT encode(sha256(n::text::bytea), 'hex'), '{}', 'key-' || n, 'open', 1, 'permanent', 'e', 'f',
                          convert_to('{{"data":{{"n":' || n || '}},"idempotencyKey":"key-' || n || '"}}', 'UTF8')
                   FROM generate_series(1, {dead_letters}) n"#,
                QUEUE.name()
            ))
            .await;
        Self { stack, front, probe, _function: function }
    }

    fn environment(&self) -> BTreeMap<&'static str, String> {
        let mut environment = self.stack.environment();
        environment.insert("CLOUD_TASKS_URL", self.front.server.url());
        environment
    }

    fn ops(&self, arguments: &[&str]) -> Said {
        ops_with(&self.environment(), &[&["dead-letters"], arguments].concat())
    }

    /// A process that is not waited for.
    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ops"));
        command.arg("dead-letters").args(arguments).env_clear().envs(self.environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Begins the replay of all; returns its process and its id.
    async fn begin(&self, rate: &str) -> (Child, String) {
        let process = self.spawn(&["replay", "--all", "--yes", "--rate", rate]);
        (process, self.bulk().await)
    }

    /// The bulk that has begun last.
    async fn bulk(&self) -> String {
        let begun =
            "SELECT id::text FROM jobs.operator_actions WHERE rate IS NOT NULL ORDER BY at DESC LIMIT 1";
        let has_begun = async || !self.stack.rows::<(String,)>(begun).await.is_empty();
        within(LIMIT, "the bulk has begun", has_begun).await;
        self.stack.rows::<(String,)>(begun).await.remove(0).0
    }

    /// Calls that create tasks.
    fn calls(&self) -> u32 {
        self.front.creations.load(Ordering::SeqCst)
    }

    async fn until_replayed(&self, at_least: u32) {
        let count = "SELECT count(*) FROM jobs.bulk_members WHERE outcome = 'replayed'";
        let is_so = async || self.stack.rows::<(i64,)>(count).await[0].0 >= i64::from(at_least);
        within(LIMIT, "some are replayed", is_so).await;
    }

    /// Has the next run, or the present one, hurry.
    async fn hurry(&self) {
        self.stack.run(&format!("UPDATE jobs.operator_actions SET rate = {FASTEST}")).await;
    }

    fn shown(&self, bulk: &str) -> Value {
        self.ops(&["bulks", bulk, "--json"]).json()["bulk"].clone()
    }

    /// Each of all dead letters was replayed once: it has its outcome, and its task has run.
    async fn check_each_replayed_once(&self, dead_letters: u32) {
        let outcomes: Vec<(String, i64)> =
            self.stack.rows("SELECT outcome, count(*) FROM jobs.bulk_members GROUP BY outcome").await;
        assert_eq!(outcomes, [("replayed".to_owned(), i64::from(dead_letters))]);
        let states: Vec<(String, i64)> =
            self.stack.rows("SELECT state, count(*) FROM jobs.dead_letters GROUP BY state").await;
        assert_eq!(states, [("sent".to_owned(), i64::from(dead_letters))]);
        within(LIMIT, "all tasks have run", async || self.stack.tasks.count(QUEUE).await.unwrap() == 0).await;
        assert_eq!(self.probe.runs(), dead_letters);
    }
}

fn kill(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

/// As many as `BULK_KILLS` and `BULK_DEAD_LETTERS` say.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_again_and_again_replays_each_dead_letter_once() {
    let number = |name, default| {
        #[expect(clippy::disallowed_methods, reason = "only this test has these sizes")]
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    let (dead_letters, kills) = (number("BULK_DEAD_LETTERS", 400), number("BULK_KILLS", 8));
    let incident = Incident::start(dead_letters).await;
    let began = Instant::now();
    let (mut process, bulk) = incident.begin(FASTEST).await;
    let mut killed = 0;
    for _ in 0..kills {
        // On average they come to about half of all dead letters.
        let calls = incident.calls() + rand::rng().random_range(0..=dead_letters / kills);
        let is_time = async || incident.calls() >= calls;
        within(LIMIT, "the run has made some calls", is_time).await;
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..LATER_MS))).await;
        killed += u32::from(process.try_wait().unwrap().is_none());
        kill(process);
        process = incident.spawn(&["resume", &bulk]);
    }
    kill(process);
    let left = incident.shown(&bulk)["outcomes"].clone();
    let last = incident.ops(&["resume", &bulk]);
    assert_eq!(last.code, 0, "{last:?}");
    assert!(last.err.ends_with(&format!("{dead_letters} replayed\n")), "{last:?}");
    let calls = incident.calls();
    assert!(calls >= dead_letters && calls <= dead_letters + (kills + 1) * AT_A_TIME, "{calls} calls");
    incident.check_each_replayed_once(dead_letters).await;
    eprintln!(
        "{dead_letters} dead letters, {killed} of {kills} kills met a run; before the last: {left}; {calls} calls, {:.0?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_waits_for_the_first_and_continues_when_it_is_killed() {
    let incident = Incident::start(100).await;
    let began = Instant::now();
    let (first, bulk) = incident.begin(SLOWEST).await;
    let mut second = incident.spawn(&["resume", &bulk]);
    incident.until_replayed(3).await;
    assert!(u64::from(incident.calls()) <= began.elapsed().as_secs() + 1, "together they keep to the rate");
    assert!(incident.shown(&bulk)["isRunning"].as_bool().unwrap());
    kill(first);
    incident.hurry().await;
    assert!(second.wait().unwrap().success());
    incident.check_each_replayed_once(100).await;
    assert_eq!(incident.ops(&["bulks"]).all(), "no replays or discards that have not ended\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_cancelled_between_two_dead_letters_and_what_is_done_stays() {
    let incident = Incident::start(200).await;
    let (mut process, bulk) = incident.begin(SLOWEST).await;
    incident.until_replayed(1).await;
    let open = incident.ops(&["bulks"]).out;
    assert!(open.contains(&bulk) && open.contains(" of 200  is running"), "{open}");
    let cancelled = incident.ops(&["cancel", &bulk, "--why", "the vendor fails again"]);
    assert!(cancelled.code == 0 && cancelled.err.starts_with("cancelled: "), "{cancelled:?}");
    assert_eq!(process.wait().unwrap().code(), Some(1), "not all is done");
    let bulk = incident.shown(&bulk);
    let count = |outcome: &str| bulk["outcomes"][outcome].as_u64().unwrap_or_default();
    assert!(count("replayed") >= 1 && count("replayed") + count("waiting") == 200, "{bulk}");
    let actions = ops_with(&incident.environment(), &["actions", "--json"]).json();
    let [cancel, replay] = &actions["actions"].as_array().unwrap()[..] else { panic!("{actions}") };
    assert_eq!((&cancel["action"], &cancel["why"]), (&json!("cancel"), &json!("the vendor fails again")));
    assert_eq!(replay["changed"], bulk["outcomes"]["replayed"]);
    let again = incident.ops(&["resume", bulk["id"].as_str().unwrap()]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("it was cancelled"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_one_dead_letter_is_its_outcome_and_one_of_all_ends_the_run() {
    let incident = Incident::start(30).await;
    incident
        .stack
        .run(&format!(
            "UPDATE jobs.dead_letters SET body = '{{\"data\":{{\"n\":7,\"x\":\"{REFUSED}\"}}}}' WHERE key = 'key-7';
             UPDATE jobs.dead_letters SET function = 'unknown' WHERE key = 'key-8'"
        ))
        .await;
    for (status, remedy) in [
        (403, "these credentials may not create tasks"),
        (429, "Cloud Tasks limits the calls"),
        (503, "Cloud Tasks is unavailable"),
    ] {
        incident.front.status.store(status, Ordering::SeqCst);
        let all = ["replay", "--all", "--yes"];
        let said = match status {
            403 => incident.ops(&all),
            _ => incident.ops(&["resume", &incident.bulk().await]),
        };
        assert_eq!(said.code, 1, "{said:?}");
        let bulk = incident.bulk().await;
        assert!(
            said.err.contains(&format!("scripts/ops dead-letters resume {bulk} continues it")),
            "{said:?}"
        );
        assert!(said.err.contains(remedy), "{said:?}");
        let shown = incident.ops(&["bulks", &bulk]).out;
        assert!(shown.contains(remedy) && shown.contains("stands still"), "{shown}");
    }
    incident.front.status.store(0, Ordering::SeqCst);
    let bulk = incident.bulk().await;
    let said = incident.ops(&["resume", &bulk, "--rate", "100", "--why", "it is available again"]);
    assert_eq!(said.code, 1, "two failed: {said:?}");
    assert!(said.err.contains("task was refused with status 400"), "{said:?}");
    assert!(said.err.contains("there is no queue unknown"), "{said:?}");
    assert!(said.err.ends_with("28 replayed, 2 failed\n"), "{said:?}");
    let bulk = incident.shown(&bulk);
    assert_eq!((&bulk["rate"], &bulk["problem"]), (&json!(100), &Value::Null), "{bulk}");
    // Each is an action of its own; those that ended with an error have no end.
    let actions = ops_with(&incident.environment(), &["actions", "--json"]).json();
    let ended = |action: &Value| (action["action"].clone(), action["changed"].clone());
    let actions: Vec<_> = actions["actions"].as_array().unwrap().iter().map(ended).collect();
    assert_eq!(
        actions[..4],
        [
            (json!("continue_bulk"), json!(1)),
            (json!("change_rate"), json!(1)),
            (json!("continue_bulk"), Value::Null),
            (json!("continue_bulk"), Value::Null),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_that_is_killed_is_continued_and_leaves_what_died_again() {
    let incident = Incident::start(100).await;
    let process = incident.spawn(&["discard", "--all", "--yes", "--rate", SLOWEST]);
    let bulk = incident.bulk().await;
    kill(process);
    // The last one, to which no run has come yet.
    let died_again: Vec<(String,)> = incident
        .stack
        .rows("UPDATE jobs.dead_letters SET deaths = 2 WHERE id = (SELECT max(id) FROM jobs.dead_letters) RETURNING key")
        .await;
    assert_eq!(died_again.len(), 1);
    let said = incident.ops(&["resume", &bulk, "--rate", FASTEST]);
    assert_eq!(said.code, 0, "{said:?}");
    let left: Vec<(String,)> = incident.stack.rows("SELECT key FROM jobs.dead_letters").await;
    assert_eq!(left, died_again);
    assert_eq!(incident.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_the_console_stands_still_when_it_is_killed_and_is_continued_from_another() {
    let incident = Incident::start(200).await;
    let console = Console::start(&incident.environment()).await;
    let preview = console.page("/dead-letters/change?action=replay").await;
    let begun = console.fill("/dead-letters/change", &preview, &[("rate", SLOWEST)]).await;
    assert!(begun.location.starts_with("/bulks/"), "{}", begun.text);
    incident.until_replayed(1).await;
    let running = console.page(&begun.location).await;
    assert!(running.contains("is running") && !running.contains("Continue</button>"), "{running}");
    drop(console);

    let console = Console::start(&incident.environment()).await;
    let bulk = &begun.location;
    let path = format!("{bulk}?json");
    let stands_still = async || !console.json(&path).await["bulk"]["isRunning"].as_bool().unwrap();
    within(LIMIT, "no process runs it", stands_still).await;
    let page = console.page(bulk).await;
    assert!(page.contains("stands still: no process runs it"), "{page}");
    let command = format!("scripts/ops dead-letters resume {}", bulk.trim_start_matches("/bulks/"));
    assert!(page.contains(&command), "{page}");
    incident.hurry().await;
    console.fill(bulk, &page, &[("action", "resume")]).await;
    console.until_ended(bulk).await;
    incident.check_each_replayed_once(200).await;
    let page = console.page(bulk).await;
    assert!(page.contains("200 replayed") && page.contains("The first are shown"), "{page}");
    let actions = console.page("/actions").await;
    assert!(actions.contains(&format!("href=\"{bulk}\"")), "{actions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_cancelled_from_its_page() {
    let incident = Incident::start(100).await;
    let (mut process, bulk) = incident.begin(SLOWEST).await;
    let console = Console::start(&incident.environment()).await;
    let path = format!("/bulks/{bulk}");
    let page = console.page(&path).await;
    console.fill(&path, &page, &[("action", "cancel")]).await;
    assert_eq!(process.wait().unwrap().code(), Some(1));
    let page = console.page(&path).await;
    assert!(page.contains("cancelled, ") && page.contains(" waiting"), "{page}");
    assert!(!page.contains("method=\"post\""), "{page}");
}
