//! The console, asked as a browser asks it, script off.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use local_cloud::Background;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{Delivery, within};
use tokio::net::TcpListener;

use crate::operator::{System, user};

pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);
const MAX_PAGE_BYTES: usize = 50_000;

/// A console, and an operator who opened the address that it printed.
pub(crate) struct Console {
    pub(crate) process: Child,
    /// Without a slash at its end.
    pub(crate) origin: String,
    pub(crate) cookie: String,
    pub(crate) http: Client,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

pub(crate) struct Page {
    pub(crate) status: StatusCode,
    policy: String,
    pub(crate) text: String,
    pub(crate) location: String,
}

/// Starts a console with these options, and returns the process with the address that it prints.
pub(crate) fn serve(
    environment: &BTreeMap<&'static str, String>,
    options: &[&str],
    log: Stdio,
) -> (Child, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_ops"))
        .args(["console", "--port", "0"])
        .args(options)
        .env_clear()
        .envs(environment)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("console: ").unwrap_or_else(|| panic!("{line}"));
    (process, address.to_owned())
}

impl Console {
    pub(crate) async fn start(environment: &BTreeMap<&'static str, String>) -> Self {
        let (process, address) = serve(environment, &[], Stdio::null());
        let (origin, _) = address.split_once("/?token=").unwrap();
        let http = shared::http::client(TIMEOUT, TIMEOUT);
        let opened = http.get(&address).send().await.unwrap();
        assert_eq!(opened.status(), StatusCode::SEE_OTHER);
        let cookie = opened.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self { process, origin: origin.to_owned(), cookie, http }
    }

    async fn send(&self, request: RequestBuilder) -> Page {
        let response = request.send().await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|it| it.to_str().unwrap().to_owned());
        let (policy, location) =
            (header("content-security-policy").unwrap(), header("location").unwrap_or_default());
        for (name, value) in
            [("x-frame-options", "DENY"), ("cache-control", "no-store"), ("referrer-policy", "same-origin")]
        {
            assert_eq!(header(name).as_deref(), Some(value));
        }
        let status = response.status();
        Page { status, policy, location, text: response.text().await.unwrap() }
    }

    /// As the operator.
    async fn get(&self, path: &str) -> Page {
        self.send(self.http.get(format!("{}{path}", self.origin)).header("cookie", &self.cookie)).await
    }

    /// A page that is there, within its budget.
    pub(crate) async fn page(&self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.text.len() < MAX_PAGE_BYTES, "{path} has {} bytes", page.text.len());
        assert!(page.policy.starts_with("default-src 'none'; style-src 'nonce-"), "{}", page.policy);
        page.text
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.text).unwrap()
    }

    /// Waits for the end of a bulk.
    pub(crate) async fn until_ended(&self, bulk: &str) {
        let has_ended = async || self.json(&format!("{bulk}?json")).await["bulk"]["endedAt"].is_string();
        within(Duration::from_mins(5), "the bulk has ended", has_ended).await;
    }

    fn form(&self, path: &str, fields: &[(String, String)]) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.origin)).form(fields)
    }

    /// Sends the form of a page that posts, as the operator's browser does.
    pub(crate) async fn submit(&self, path: &str, page: &str) -> Page {
        self.fill(path, page, &[]).await
    }

    /// The same, with what the operator enters, or the button that is pressed.
    pub(crate) async fn fill(&self, path: &str, page: &str, entered: &[(&str, &str)]) -> Page {
        let mut fields = hidden(page);
        fields.extend(entered.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let form = self.form(path, &fields);
        self.send(form.header("cookie", &self.cookie).header("origin", &self.origin)).await
    }
}

/// The hidden fields of the form that posts.
pub(crate) fn hidden(page: &str) -> Vec<(String, String)> {
    let (_, form) = page.split_once("method=\"post\"").unwrap_or_else(|| panic!("no form: {page}"));
    let (form, _) = form.split_once("</form>").unwrap();
    let attribute = |text: &str| text.split('"').next().unwrap().to_owned();
    let fields = form.split("type=\"hidden\" name=\"").skip(1);
    fields.map(|field| (attribute(field), attribute(field.split_once("value=\"").unwrap().1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_found_read_replayed_and_seen_done_with_the_console_only() {
    let system = System::start().await;
    system.fail(2).await;
    let console = Console::start(&system.environment()).await;

    let now = console.page("/").await;
    assert!(now.contains(r#"href="/dead-letters?queue=token-refresh">2</a>"#), "{now}");
    let errors = console.page("/errors").await;
    assert!(errors.contains("permanent failure: the vendor refuses it"), "{errors}");
    let (_, link) = errors.split_once("<td data-name=\"error\"><a href=\"").unwrap();
    let list = console.page(&link.split('"').next().unwrap().replace("&#38;", "&")).await;
    assert!(list.contains("Replay all 2 …"), "{list}");
    let of_one = console.json(&format!("/dead-letters?user={}&json", user(2))).await;
    let id = of_one["deadLetters"][0]["id"].as_str().unwrap();
    let dead_letter = console.page(&format!("/dead-letters/{id}")).await;
    assert!(dead_letter.contains("&#34;n&#34;:2"), "{dead_letter}");

    system.fix();
    let runs = system.probe.runs();
    let preview = console.page("/dead-letters/change?action=replay&queue=token-refresh").await;
    assert!(preview.contains("2 dead letters would be replayed"), "{preview}");
    let replayed = console.submit("/dead-letters/change", &preview).await;
    assert_eq!(replayed.status, StatusCode::SEE_OTHER, "{}", replayed.text);
    // Sent again by a browser that reloads, it is the same bulk.
    let again = console.submit("/dead-letters/change", &preview).await;
    assert_eq!(again.location, replayed.location);
    console.until_ended(&replayed.location).await;
    let bulk = console.page(&replayed.location).await;
    assert!(bulk.contains("2 replayed") && bulk.contains("ended"), "{bulk}");
    system.until_idle().await;
    assert_eq!(system.probe.runs(), runs + 2);

    let actions = console.json("/actions?json").await;
    let replay = &actions["actions"]["items"][0];
    assert_eq!((&replay["via"], &replay["changed"]), (&json!("console"), &json!(2)), "{actions}");
    let task =
        console.page(&format!("/task?key={}", of_one["deadLetters"][0]["key"].as_str().unwrap())).await;
    assert!(task.contains("a delivery is a duplicate: the task is done"), "{task}");
    assert!(console.page("/dead-letters").await.contains("No dead letters."));
    for path in
        ["/schedules", "/messages", "/actions", &format!("/users/{}", user(1)), "/queues/token-refresh-queue"]
    {
        console.page(path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_and_resumed_from_its_page() {
    let system = System::start().await;
    let console = Console::start(&system.environment()).await;
    for expected in ["paused", "running"] {
        let page = console.page("/queues/token-refresh").await;
        let done = console.submit("/queues/token-refresh", &page).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
        assert_eq!(console.json("/queues/token-refresh?json").await["state"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_wait_are_listed_and_each_leads_to_its_life() {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    for n in 1..=45 {
        let task = Delivery::of(System::QUEUE, &json!({ "n": n, "userId": user(n) }));
        system.stack.tasks.create(System::QUEUE, task.body.as_bytes()).await.unwrap();
    }
    let console = Console::start(&system.environment()).await;
    assert!(console.page("/tasks").await.contains("<option>token-refresh</option>"));
    let all = console.page("/tasks?queue=token-refresh-queue").await;
    assert!(all.contains("The first 24 are shown; there are more."), "{all}");
    let of_one = format!("/tasks?queue=token-refresh&user={}", user(7));
    let found = console.json(&format!("{of_one}&json")).await;
    let [task] = &found["tasks"].as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!((&task["user"], &found["isCut"]), (&json!(user(7)), &json!(false)), "{found}");
    let page = console.page(&of_one).await;
    assert!(page.contains(&format!("scripts/ops tasks token-refresh --user {}", user(7))), "{page}");
    let (_, life) = page.split_once("<td data-name=\"task\"><a href=\"").unwrap();
    let life = console.page(&life.split('"').next().unwrap().replace("&#38;", "&")).await;
    assert!(life.contains("is due") && life.contains("a delivery runs: attempt 1"), "{life}");
    assert!(
        life.contains("its queue is paused, and not by scripts/ops pause as far as is recorded"),
        "{life}"
    );
    // The conditions stay when a queue is chosen.
    let choose = console.page("/tasks?since=2h").await;
    assert!(choose.contains("/tasks?queue=token-refresh&#38;since=2h"), "{choose}");
    let none = console.page("/tasks?queue=token-refresh&until=1h").await;
    assert!(none.contains("No tasks in token-refresh with until "), "{none}");
    let by_key = console.get("/tasks?key=some-key").await;
    assert_eq!((by_key.status, by_key.location.as_str()), (StatusCode::SEE_OTHER, "/task?key=some-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_shown_in_words_and_run_from_its_page() {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    let console = Console::start(&system.environment()).await;
    assert!(console.page("/schedules").await.contains("every 15 minutes"));
    let path = "/schedules/token-refresh-sweep";
    let page = console.page(path).await;
    assert!(page.contains("every day at 03:00 UTC") && page.contains("none is recorded"), "{page}");
    assert!(!page.contains("value=\"pause\""), "there is no Cloud Scheduler: {page}");
    let run = console.fill(path, &page, &[("action", "run"), ("why", "a person waits")]).await;
    assert_eq!((run.status, run.location.as_str()), (StatusCode::SEE_OTHER, "/tasks?queue=token-refresh"));
    assert_eq!(system.stack.tasks.payloads(System::QUEUE).await.unwrap(), [json!({})]);
    let actions = console.json("/actions?json").await;
    let action = &actions["actions"]["items"][0];
    assert_eq!((&action["action"], &action["why"]), (&json!("run_schedule"), &json!("a person waits")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_form_of_the_console_itself_changes_anything() {
    let system = System::start().await;
    system.fail(1).await;
    let console = Console::start(&system.environment()).await;
    let path = "/dead-letters/change";
    let preview = console.page("/dead-letters/change?action=discard").await;
    let fields = hidden(&preview);
    let form = || console.form(path, &fields);
    let cookie = console.cookie.as_str();
    let other: Vec<_> = fields.iter().filter(|(name, _)| name != "form").cloned().collect();
    for (what, request) in [
        ("no token", form().header("origin", &console.origin)),
        ("another token", form().header("origin", &console.origin).header("cookie", "ops_console=guessed")),
        ("no origin", form().header("cookie", cookie)),
        ("another origin", form().header("cookie", cookie).header("origin", "http://evil.example.test")),
        (
            "another site",
            form()
                .header("cookie", cookie)
                .header("origin", &console.origin)
                .header("sec-fetch-site", "cross-site"),
        ),
        (
            "no form token",
            console.form(path, &other).header("cookie", cookie).header("origin", &console.origin),
        ),
        (
            "another name",
            form()
                .header("cookie", cookie)
                .header("origin", "http://evil.example.test")
                .header("host", "evil.example.test"),
        ),
    ] {
        let page = console.send(request).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{what}: {}", page.text);
    }
    let large = console.form(path, &[("why".to_owned(), "x".repeat(10_000_000))]);
    let large = large.header("cookie", cookie).header("origin", &console.origin).send().await;
    assert!(large.is_err() || large.unwrap().status() == StatusCode::PAYLOAD_TOO_LARGE);
    let wrong = console.send(console.http.get(format!("{}/?token=guessed", console.origin))).await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let left: Vec<(i64,)> =
        system.stack.rows("SELECT count(*) FROM jobs.dead_letters WHERE state = 'open'").await;
    assert_eq!(left, [(1,)]);
    let recorded: Vec<(i64,)> = system.stack.rows("SELECT count(*) FROM jobs.operator_actions").await;
    assert_eq!(recorded, [(0,)]);

    // Without the token, pages can be read, and nothing personal is on them.
    let read =
        async |path: &str| console.send(console.http.get(format!("{}{path}", console.origin))).await.text;
    let id: Vec<(String,)> = system.stack.rows("SELECT id FROM jobs.dead_letters").await;
    let page = read(&format!("/dead-letters/{}", id[0].0)).await;
    assert!(page.contains("read-only") && !page.contains("&#34;n&#34;"), "{page}");
    assert!(!read("/dead-letters/change?action=discard").await.contains("method=\"post\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_is_shown_as_text_and_no_parameter_breaks_a_page() {
    let system = System::start().await;
    let script = "<script>alert(1)</script>";
    system
        .stack
        .run(&format!(
            "INSERT INTO jobs.dead_letters (id, function, key, state, deaths, reason, error, fingerprint, body)
             VALUES ('{}', 'token-refresh', '{script}', 'open', 1, '{script}', '{script}', '{script}', '{script}')",
            "a".repeat(64)
        ))
        .await;
    let console = Console::start(&system.environment()).await;
    for path in [
        "/errors",
        "/dead-letters",
        &format!("/dead-letters/{}", "a".repeat(64)),
        "/dead-letters/change?action=replay",
    ] {
        let page = console.page(path).await;
        assert!(!page.contains(script) && page.contains("&#60;script&#62;alert"), "{path}: {page}");
    }
    let task = console.page("/task?key=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!task.contains(script), "{task}");
    for hostile in ["../../etc/passwd", "%00", "..%2f..%2f", "%27;DROP TABLE x;--", "%ff%fe", "<script>"] {
        for path in [
            format!("/errors?queue={hostile}"),
            format!("/errors?since={hostile}"),
            format!("/errors?reason={hostile}"),
            format!("/dead-letters?user={hostile}"),
            format!("/dead-letters?fingerprint={hostile}"),
            format!("/dead-letters/{hostile}"),
            format!("/dead-letters/change?action={hostile}"),
            format!("/queues/{hostile}"),
            format!("/bulks/{hostile}"),
            format!("/users/{hostile}"),
            format!("/task?key={hostile}"),
            format!("/tasks?queue={hostile}"),
            format!("/tasks?queue=token-refresh&key={hostile}"),
            format!("/tasks?queue=token-refresh&since={hostile}"),
            format!("/schedules/{hostile}"),
            format!("/messages?state={hostile}"),
            format!("/search?q={hostile}"),
        ] {
            let page = console.get(&path).await;
            assert!(!page.status.is_server_error(), "{path}: {} {}", page.status, page.text);
            assert!(!page.text.contains("<script>"), "{path}: {}", page.text);
        }
    }
    let said = console.get("/queues/calender-sync").await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
    assert!(said.text.contains("did you mean calendar-sync?"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_unavailable_has_a_banner_and_the_rest_is_shown() {
    let system = System::start().await;
    for (variable, source, path) in [
        ("DATABASE_URL", "Postgres", "/"),
        ("DATABASE_URL", "Postgres", "/errors"),
        ("DATABASE_URL", "Postgres", "/dead-letters"),
        ("DATABASE_URL", "Postgres", "/schedules"),
        ("DATABASE_URL", "Postgres", "/messages"),
        ("DATABASE_URL", "Postgres", "/actions"),
        ("CLOUD_TASKS_URL", "Cloud Tasks", "/"),
        ("CLOUD_TASKS_URL", "Cloud Tasks", "/tasks?queue=token-refresh"),
        ("CLOUD_TASKS_URL", "Cloud Tasks", "/deploys"),
        ("CLOUD_TASKS_URL", "Cloud Tasks", "/users/00000000-0000-4000-8000-000000000001"),
        ("UPSTASH_REDIS_REST_URL", "Redis", "/task?key=some-key"),
    ] {
        let mut environment = system.environment();
        environment.remove(variable);
        let unreachable = if variable == "DATABASE_URL" {
            "postgres://unknown@127.0.0.1:1/none"
        } else {
            "http://127.0.0.1:1"
        };
        environment.insert(variable, unreachable.to_owned());
        let console = Console::start(&environment).await;
        let page = console.page(path).await;
        assert!(page.contains(&format!("Not known from {source}: ")), "{path} without {source}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_accepts_and_never_responds_has_a_banner_and_the_rest_is_shown() {
    let system = System::start().await;
    system.fail(1).await;
    // The system's backlog takes connections; no one reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = format!("http://{}", silent.local_addr().unwrap());
    let postgres = format!("postgres://unknown@{}/none", silent.local_addr().unwrap());
    let check = async |variable, url: &str, source: &str, path: &str, rest: &str| {
        let mut environment = system.environment();
        environment.insert(variable, url.to_owned());
        let console = Console::start(&environment).await;
        let page = console.page(path).await;
        assert!(page.contains(&format!("Not known from {source}: ")), "{path} without {source}: {page}");
        assert!(page.contains(rest), "{path} without {source}: {page}");
    };
    let dead_letters = r#"href="/dead-letters?queue=token-refresh">1</a>"#;
    let fields = r#"<input name="queue" list="queues" value="token-refresh">"#;
    tokio::join!(
        check("DATABASE_URL", &postgres, "Postgres", "/", r#"<span class="ok">running</span>"#),
        check("DATABASE_URL", &postgres, "Postgres", "/schedules", "every 15 minutes"),
        check("CLOUD_TASKS_URL", &http, "Cloud Tasks", "/", dead_letters),
        check("CLOUD_TASKS_URL", &http, "Cloud Tasks", "/tasks?queue=token-refresh", fields),
        check("UPSTASH_REDIS_REST_URL", &http, "Redis", "/task?key=some-key", "Postgres <time"),
        check("WEBHOOKS_URL", &http, "metrics", "/", dead_letters),
        check("CLOUD_MONITORING_URL", &http, "Cloud Monitoring (last hour)", "/", dead_letters),
        check("CLOUD_MONITORING_URL", &http, "Cloud Monitoring (alerts)", "/", dead_letters),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_queue_asks_for_the_tasks_of_no_other() {
    let system = System::start().await;
    let settings = system.stack.tasks.settings();
    let path = format!("/v2/projects/{}/locations/{}/queues", settings.project, settings.region);
    let http = shared::http::client(TIMEOUT, TIMEOUT);
    let queues = http.get(format!("{}{path}", system.stack.tasks.url())).send().await.unwrap();
    // One page, which has several.
    let queues = json!({ "queues": queues.json::<Value>().await.unwrap()["queues"] });
    let listed = queues["queues"].as_array().unwrap().len();
    assert!(listed > 1 && queues.to_string().contains("/token-refresh-queue\""), "{queues}");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let tasks = move |Path(queue): Path<String>| {
        seen.lock().unwrap().push(queue);
        async { Json(json!({})) }
    };
    let router = Router::new()
        .route(&path, get(async move || Json(queues)))
        .route(&format!("{path}/{{queue}}/tasks"), get(tasks));
    let cloud_tasks = Background::start("cloud-tasks", async |listener| axum::serve(listener, router).await);
    let cloud_tasks = cloud_tasks.unwrap();
    let mut environment = system.environment();
    environment.insert("CLOUD_TASKS_URL", cloud_tasks.url());
    let console = Console::start(&environment).await;
    console.page("/queues/token-refresh").await;
    assert_eq!(*asked.lock().unwrap(), ["token-refresh-queue"]);
    console.page("/").await;
    assert_eq!(asked.lock().unwrap().len(), 1 + listed);
}
