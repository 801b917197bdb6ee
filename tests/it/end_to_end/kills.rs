//! Containers die in the middle of a job.

use std::time::Duration;

use catchup::queues;
use google_stand_in::{Call, Fault, FaultKind, Integration, Times};
use local_cloud::LocalCloud;
use serde_json::json;
use shared::queue::Queue;
use uuid::Uuid;

use super::{TIMEOUT, calls, database, healthy, small, start, within};

const QUEUE: Queue = queues::TOKEN_REFRESH;

/// A task whose job hangs, in the middle, for as long as a test needs.
async fn hanging(cloud: &LocalCloud) -> Uuid {
    let user = healthy(cloud.world(), Integration::GoogleContacts, |_, _| true);
    cloud.world().reset_calls();
    cloud.world().inject(
        Fault::new(FaultKind::Slow { delay_ms: 600_000 }).user(user).call(Call::Token).times(Times::Forever),
    );
    super::create(cloud, QUEUE, &json!({ "userId": user, "integrationType": "google_contacts" })).await;
    user
}

/// Waits until the job has run into the middle once more, and kills its process there.
async fn kill_in_the_middle(cloud: &mut LocalCloud, user: Uuid, attempt: u64) {
    let world = cloud.world().clone();
    within(TIMEOUT, "in the middle of the job", || async { calls(&world, user, Call::Token) >= attempt })
        .await;
    let function = cloud.function_mut(QUEUE).unwrap();
    function.kill().unwrap();
    function.respawn().unwrap();
    function.ready().await.unwrap();
}

async fn dead_letters(cloud: &LocalCloud) -> Vec<(String, String)> {
    sqlx::query_as("SELECT state, reason FROM jobs.dead_letters")
        .fetch_all(&mut database(cloud).await)
        .await
        .unwrap()
}

async fn kills(cloud: &LocalCloud) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM jobs.failures WHERE kind = 'killed'")
        .fetch_one(&mut database(cloud).await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_each_attempt_but_the_last_a_task_completes() {
    let mut cloud = start(small()).await;
    let user = hanging(&cloud).await;
    let attempts = u64::from(QUEUE.policy().attempts);
    for attempt in 1..attempts {
        if attempt == attempts - 1 {
            let world = cloud.world().clone();
            within(TIMEOUT, "in the middle of the job", || async {
                calls(&world, user, Call::Token) >= attempt
            })
            .await;
            world.clear_faults();
        }
        kill_in_the_middle(&mut cloud, user, attempt).await;
    }
    cloud.until_idle(TIMEOUT, |_| {}).await.unwrap();

    let lines = cloud.function_mut(QUEUE).unwrap().lines();
    let last = lines.last().unwrap();
    assert_eq!((last.outcome.as_str(), u64::from(last.attempt)), ("done", attempts), "{lines:?}");
    assert_eq!(u64::try_from(kills(&cloud).await).unwrap(), attempts - 1);
    assert_eq!(dead_letters(&cloud).await, []);
    let status: String = sqlx::query_scalar(
        "SELECT status FROM token_health WHERE user_id = $1 AND integration_type = 'google_contacts'",
    )
    .bind(user)
    .fetch_one(&mut database(&cloud).await)
    .await
    .unwrap();
    assert_eq!(status, "valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_every_attempt_a_task_is_one_dead_letter_after_as_many_runs() {
    let mut cloud = start(small()).await;
    let user = hanging(&cloud).await;
    let attempts = QUEUE.policy().attempts;
    for attempt in 1..=attempts {
        kill_in_the_middle(&mut cloud, user, attempt.into()).await;
    }
    cloud.until_idle(TIMEOUT, |_| {}).await.unwrap();
    assert_eq!(dead_letters(&cloud).await, [("open".to_owned(), "killed".to_owned())]);
    assert_eq!(calls(cloud.world(), user, Call::Token), u64::from(attempts), "no run beyond the attempts");
    assert_eq!(kills(&cloud).await, i64::from(attempts));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_asked_to_stop_sends_its_task_on() {
    let mut cloud = start(small()).await;
    let user = hanging(&cloud).await;
    let world = cloud.world().clone();
    within(TIMEOUT, "in the middle of the job", || async { calls(&world, user, Call::Token) >= 1 }).await;
    // A dispatch that finds no instance would count as an attempt.
    cloud.tasks().pause(QUEUE).await.unwrap();
    let function = cloud.function_mut(QUEUE).unwrap();
    function.terminate();
    within(Duration::from_secs(10), "over within Cloud Run's ten seconds", || {
        let ended = function.ended().unwrap();
        async move { ended.is_some() }
    })
    .await;
    assert!(function.ended().unwrap().unwrap().success());
    world.clear_faults();
    function.respawn().unwrap();
    function.ready().await.unwrap();
    cloud.tasks().resume(QUEUE).await.unwrap();
    cloud.until_idle(TIMEOUT, |_| {}).await.unwrap();
    let lines = cloud.function_mut(QUEUE).unwrap().lines();
    let outcomes: Vec<_> = lines.iter().map(|line| (line.outcome.as_str(), line.attempt)).collect();
    assert_eq!(outcomes, [("requeued", 1), ("done", 1)]);
}
