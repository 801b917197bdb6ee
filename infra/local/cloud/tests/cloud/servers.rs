//! Postgres, Redis and Cloud Tasks as tests and the local cloud use them.

use std::net::SocketAddr;
use std::time::Duration;

use catchup::queues;
use local_cloud::tasks::Settings;
use local_cloud::{CloudTasks, Postgres, Redis, postgres};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn databases_of_one_server_are_created_concurrently_and_isolated() {
    let postgres = Postgres::start(None).await.expect("Postgres starts");
    let (first, second) = tokio::join!(postgres.create_database("first"), postgres.create_database("second"));
    for (url, email) in
        [(first.expect("first"), "a@example.test"), (second.expect("second"), "b@example.test")]
    {
        let mut connection = postgres::connect(&url).await.expect("a connection");
        sqlx::query("INSERT INTO users (email, google_id) VALUES ($1, 'same')")
            .bind(email)
            .execute(&mut connection)
            .await
            .expect("an empty table");
        let dead_letters: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs.dead_letters")
            .fetch_one(&mut connection)
            .await
            .expect("the schema of the jobs");
        assert_eq!(dead_letters, 0);
    }
}

#[tokio::test]
async fn databases_on_a_given_server_are_dropped_and_the_server_stays() {
    let server = Postgres::start(None).await.expect("Postgres starts");
    let guest = Postgres::start(Some(server.url())).await.expect("the server is reached");
    let url = guest.create_database("guest").await.expect("a database");
    assert!(postgres::connect(&url).await.is_ok());
    drop(guest);
    let mut connection = postgres::connect(server.url()).await.expect("the server is still there");
    let left: Vec<String> = sqlx::query_scalar("SELECT datname FROM pg_database WHERE NOT datistemplate")
        .fetch_all(&mut connection)
        .await
        .expect("databases");
    assert_eq!(left, ["postgres"]);
}

async fn command(url: &str, words: &[&str]) -> redis::Value {
    let mut connection = local_cloud::redis::connect(url).await.expect("a connection");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut connection).await.expect("an answer")
}

#[tokio::test]
async fn of_a_given_redis_an_empty_database_is_used_and_left_empty() {
    let server = Redis::start(None).await.expect("Redis starts");
    // The client takes the number of the database from the path of a TCP address only.
    let port = local_cloud::ports::free().expect("a port").to_string();
    command(server.url(), &["CONFIG", "SET", "port", &port]).await;
    let given: Url = format!("redis://127.0.0.1:{port}").parse().expect("a URL");
    command(given.as_str(), &["SET", "another's", "key"]).await;
    let guest = Redis::start(Some(&given)).await.expect("an empty database");
    assert!(guest.url().ends_with("/1"), "{}", guest.url());
    command(guest.url(), &["SET", "ours", "key"]).await;
    drop(guest);
    assert_eq!(command(&format!("{given}/1"), &["DBSIZE"]).await, redis::Value::Int(0));
    assert_eq!(command(given.as_str(), &["DBSIZE"]).await, redis::Value::Int(1));
    let full: Url = format!("redis://127.0.0.1:{port}/0").parse().expect("a URL");
    assert!(Redis::start(Some(&full)).await.is_err());
}

#[tokio::test]
async fn redis_clients_that_start_together_claim_different_databases() {
    const CLIENTS: usize = 6;
    let server = Redis::start(None).await.expect("Redis starts");
    let port = local_cloud::ports::free().expect("a port").to_string();
    command(server.url(), &["CONFIG", "SET", "port", &port]).await;
    let given: Url = format!("redis://127.0.0.1:{port}").parse().expect("a URL");
    let started = futures_util::future::join_all((0..CLIENTS).map(|_| Redis::start(Some(&given)))).await;
    let clients: Vec<Redis> = started.into_iter().map(|client| client.expect("an empty database")).collect();
    let urls: std::collections::BTreeSet<&str> = clients.iter().map(Redis::url).collect();
    assert_eq!(urls.len(), CLIENTS, "{urls:?}");
    for url in urls {
        let command = redis::cmd("TTL").arg("local-cloud:claimed-by").to_owned();
        let mut connection = local_cloud::redis::connect(url).await.expect("Redis answers");
        let ttl: i64 = command.query_async(&mut connection).await.expect("an answer");
        assert!(ttl > 0, "a claim expires: {ttl}");
    }
}

/// A handler that answers `status` and passes on what it was sent: head and body.
async fn handler(status: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let (head, length) = loop {
                let read = stream.read(&mut buffer).await.expect("a request");
                request.extend_from_slice(&buffer[..read]);
                let text = String::from_utf8_lossy(&request).to_lowercase();
                if let Some(end) = text.find("\r\n\r\n") {
                    let length = text[..end]
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
                        .unwrap_or_default();
                    break (end + 4, length);
                }
            };
            while request.len() < head + length {
                let read = stream.read(&mut buffer).await.expect("a body");
                request.extend_from_slice(&buffer[..read]);
            }
            let body = request.split_off(head);
            let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if sender.send((String::from_utf8_lossy(&request).into_owned(), body)).is_err() {
                break;
            }
            stream.write_all(response.as_bytes()).await.expect("written");
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_scheduled_task_reaches_the_routed_function_with_a_token_and_without_a_key() {
    let tasks = CloudTasks::start(Settings::default()).await.expect("Cloud Tasks starts");
    let (address, mut requests) = handler("200 OK").await;
    let queue = queues::ADAPTIVE_SYNC;
    let schedule = &queue.policy().schedules[0];
    tasks.create_scheduled(queue, schedule).await.expect("a task");
    assert_eq!(tasks.count(queue).await.expect("a list"), 1, "a queue without a route is paused");
    tasks.route(queue, address).await.expect("a route");
    let (head, body) = timeout(TIMEOUT, requests.recv()).await.expect("a dispatch").expect("a request");
    assert!(head.starts_with("POST /api/jobs/adaptive-sync HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer "), "{head}");
    assert!(head.to_lowercase().contains("x-cloudtasks-queuename: adaptive-sync-queue"), "{head}");
    let envelope: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(envelope, json!({ "data": schedule.payload, "jobName": "adaptive-sync" }));
}

#[tokio::test]
async fn queues_are_declared_as_in_production_but_for_shorter_backoffs() {
    let settings = Settings { backoff_divisor: 100, ..Settings::default() };
    let tasks = CloudTasks::start(settings).await.expect("Cloud Tasks starts");
    let url = format!("{}/v2/{}/queues", tasks.url(), tasks.settings().parent());
    let http = shared::http::client(TIMEOUT, TIMEOUT);
    let answer: Value = http.get(url).send().await.expect("an answer").json().await.expect("JSON");
    let queues = answer["queues"].as_array().expect("queues");
    assert_eq!(queues.len(), queues::all().count());
    let queue = queues
        .iter()
        .find(|queue| queue["name"].as_str().is_some_and(|name| name.ends_with("/calendar-sync-queue")))
        .expect("calendar-sync-queue");
    assert_eq!(queue["rateLimits"]["maxDispatchesPerSecond"], 20);
    assert_eq!(queue["retryConfig"]["maxAttempts"], -1);
    assert_eq!(queue["retryConfig"]["minBackoff"], "0.300s");
    assert_eq!(queue["retryConfig"]["maxBackoff"], "18s");
    assert_eq!(queue["state"], "PAUSED");
}

#[tokio::test]
async fn queue_has_unlimited_attempts_while_ours_and_its_own_after_it_is_given_back() {
    // Where nothing is said, Cloud Tasks ends a task after 100.
    const MORE_THAN_THE_DEFAULT: usize = 101;
    let (address, mut requests) = handler("500 Internal Server Error").await;
    let settings = Settings {
        backoff_divisor: 1_000_000,
        functions_url: format!("http://{address}"),
        ..Settings::default()
    };
    let tasks = CloudTasks::start(settings).await.expect("Cloud Tasks starts");
    let queue = queues::ADAPTIVE_SYNC;
    let name = format!("{}/queues/{}", tasks.settings().parent(), queue.cloud_name());
    let http = shared::http::client(TIMEOUT, TIMEOUT);
    let until_empty = async || {
        let answer = http.get(format!("{}/emulator/{name}:waitIdle", tasks.url())).send().await;
        assert!(answer.expect("Cloud Tasks has ended all tasks").status().is_success());
    };
    tasks.create(queue, b"ours").await.expect("a task");
    tasks.route(queue, address).await.expect("a route");
    for _ in 0..MORE_THAN_THE_DEFAULT {
        timeout(TIMEOUT, requests.recv()).await.expect("a dispatch").expect("a request");
    }
    assert_eq!(tasks.count(queue).await.expect("a list"), 1, "Cloud Tasks has ended a task of ours");

    // As infra/takeover.md has it: paused, and both in one call.
    tasks.pause(queue).await.expect("paused");
    let attempts = queue.policy().attempts;
    let given_back = http
        .patch(format!("{}/v2/{name}?updateMask=httpTarget,retryConfig.maxAttempts", tasks.url()))
        .json(&json!({ "retryConfig": { "maxAttempts": attempts } }))
        .send()
        .await;
    assert!(given_back.expect("an answer").status().is_success());
    tasks.resume(queue).await.expect("resumed");
    // Its dispatches here count there: it ends with its next failure.
    until_empty().await;
    tasks.create(queue, b"its own").await.expect("a task");
    until_empty().await;
    let mut dispatches = 0;
    while let Ok((_, body)) = requests.try_recv() {
        dispatches += u32::from(body == b"its own");
    }
    assert_eq!(dispatches, attempts);
}
