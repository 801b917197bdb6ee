//! Real processes: the functions as they are shipped, Cloud Tasks dispatching to them, a world at Google's side.

use catchup::queues;
use std::path::PathBuf;
use std::time::Duration;

use google_stand_in::{Call, Integration, SeedOptions, World};
use local_cloud::functions::{TaskLine, built_programs};
use local_cloud::seed::Variety;
use local_cloud::stack::{LocalCloud, Options, Servers};
use serde_json::{Value, json};
use shared::queue::Queue;
use sqlx::PgConnection;
use uuid::Uuid;

mod contacts;
mod figures;
mod kills;
mod messages;
mod pushes;
mod schedules;
mod syncs;

/// Backoffs are divided by this: seconds instead of minutes.
const SHORTER_BACKOFF: u32 = 100;
/// Windows of three and six seconds: long enough for several changes.
const SHORTER_DEBOUNCE: u32 = 10;
/// Leases of six seconds.
const SHORTER_LEASE: u32 = 10;
/// Longer than several leases.
const TIMEOUT: Duration = Duration::from_secs(400);

/// A local cloud whose functions serve this world.
async fn start(world: SeedOptions) -> LocalCloud {
    let programs = built_programs().unwrap();
    let logs: PathBuf = programs.join("test-logs").join(Uuid::new_v4().simple().to_string());
    let options = Options {
        postgres: Some(tests::stack::postgres().await.url().clone()),
        redis: None,
        existing: None,
        world,
        variety: Variety::Varied,
        backoff_divisor: SHORTER_BACKOFF,
        debounce_divisor: SHORTER_DEBOUNCE,
        lease_divisor: SHORTER_LEASE,
        programs: Some(programs),
        logs,
    };
    let servers = Servers::start(&options).await.unwrap();
    let cloud = LocalCloud::start(&options, servers).await.unwrap();
    let missing: Vec<_> = queues::all().filter(|queue| !cloud.serves(*queue)).map(Queue::name).collect();
    assert!(missing.is_empty(), "not built: {missing:?}; run cargo build --workspace first");
    cloud
}

/// A small world: some users, few contacts.
fn small() -> SeedOptions {
    SeedOptions { users: 8, max_contacts: 60, ..SeedOptions::default() }
}

async fn database(cloud: &LocalCloud) -> PgConnection {
    local_cloud::postgres::connect(cloud.database()).await.unwrap()
}

/// Creates a task as a person's request would, and waits until its queue is empty.
async fn run(cloud: &mut LocalCloud, queue: Queue, data: &Value) -> Vec<TaskLine> {
    create(cloud, queue, data).await;
    cloud.until_done(queue, TIMEOUT).await.unwrap();
    cloud.function_mut(queue).unwrap().lines()
}

async fn create(cloud: &LocalCloud, queue: Queue, data: &Value) {
    let envelope = json!({ "data": data, "jobName": queue.name() });
    cloud.tasks().create(queue, envelope.to_string().as_bytes()).await.unwrap();
}

fn calls(world: &World, user: Uuid, call: Call) -> u64 {
    world.calls(user).get(&call).copied().unwrap_or_default()
}

/// A user whose integration works and has something in it.
fn healthy(world: &World, integration: Integration, has: impl Fn(&World, Uuid) -> bool) -> Uuid {
    let users = world.users();
    let mut usable =
        users.iter().filter(|user| user.grant(integration).is_some_and(local_cloud::seed::works));
    usable.find(|user| has(world, user.id)).expect("the world has such a user").id
}

/// A fingerprint of a table's rows that changes with every write, also one that changes no value.
async fn fingerprint(db: &mut PgConnection, table: &str) -> Option<String> {
    let sql = format!("SELECT md5(string_agg(id::text || xmin::text, ',' ORDER BY id)) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(db).await.unwrap()
}
