//! Every schedule once, over a whole world.

use google_stand_in::SeedOptions;
use local_cloud::verify::verify;
use shared::queue::Queue;

use super::{PATIENCE, start};

#[tokio::test(flavor = "multi_thread")]
async fn every_schedule_once_leaves_postgres_as_google_is() {
    let mut cloud =
        start(SeedOptions { users: 16, max_contacts: 300, seed: 7, ..SeedOptions::default() }).await;
    for queue in [Queue::TokenRefresh, Queue::AdaptiveSync] {
        cloud.run_schedules(queue).await.unwrap();
        cloud.until_idle(PATIENCE, |_| {}).await.unwrap();
    }
    let differences = verify(cloud.database(), cloud.world(), cloud.seeded()).await.unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_runs_twice_creates_nothing_twice() {
    let mut cloud = start(super::small()).await;
    for _ in 0..2 {
        cloud.run_schedules(Queue::AdaptiveSync).await.unwrap();
        cloud.run_schedules(Queue::TokenRefresh).await.unwrap();
    }
    cloud.until_idle(PATIENCE, |_| {}).await.unwrap();
    for queue in [Queue::TokenRefresh, Queue::CalendarSync, Queue::GoogleContactsSync] {
        let lines = cloud.function_mut(queue).unwrap().lines();
        let mut names: Vec<_> =
            lines.iter().filter(|line| line.outcome == "done").map(|line| &line.task).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{}: a task ran twice", queue.name());
    }
    let twice: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT user_id, integration_type FROM sync_metrics GROUP BY 1, 2 HAVING count(*) > 1) AS twice",
    )
    .fetch_one(&mut super::database(&cloud).await)
    .await
    .unwrap();
    assert_eq!(twice, 0, "a user was synced twice");
}
