//! Every schedule once, over a whole world.

use catchup::queues;
use google_stand_in::SeedOptions;
use local_cloud::once::{Progress, once};
use local_cloud::report::Report;
use messaging_stand_in::Channel;
use serde_json::Value;
use shared::queue::Queue;

use super::{TIMEOUT, start};

/// The queues that have schedules, or that another function fills; the others' tasks come from outside.
fn filled() -> impl Iterator<Item = Queue> {
    let needs: Value = serde_json::from_str(include_str!("../../../infra/gcp/functions.json")).unwrap();
    let functions = needs["functions"].as_object().unwrap().values();
    let enqueued: Vec<String> = functions
        .flat_map(|function| serde_json::from_value::<Vec<String>>(function["enqueues"].clone()).unwrap())
        .collect();
    queues::all().filter(move |queue| {
        !queue.policy().schedules.is_empty() || enqueued.iter().any(|name| name == queue.name())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn running_every_schedule_once_leaves_no_difference_and_a_changed_calendar_changes_suggestions() {
    let mut cloud =
        start(SeedOptions { users: 16, max_contacts: 300, seed: 7, ..SeedOptions::default() }).await;
    let mut changed = 0;
    let differences = once(&mut cloud, None, TIMEOUT, |progress| match progress {
        Progress::Changing(users) => changed = users,
        Progress::Schedules(_) | Progress::Queues(_) | Progress::Comparing => {}
    })
    .await
    .unwrap();
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(changed > 0, "the loop was closed for a user");

    let report = Report::of(&cloud.lines(), &cloud.consumption());
    assert_eq!(report.failures(), 0, "{report}");
    let idle: Vec<_> = filled().filter(|queue| !report.queues.contains_key(queue.name())).collect();
    assert_eq!(idle, [], "every queue that a schedule or a function fills had something to do");
    let messages = cloud.inbox().messages();
    let by_sms = messages.iter().filter(|message| message.channel == Channel::Sms).count();
    assert!(by_sms > 0 && by_sms < messages.len(), "people were told both ways");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_runs_twice_creates_nothing_twice() {
    let mut cloud = start(super::small()).await;
    for _ in 0..2 {
        cloud.run_schedules(queues::ADAPTIVE_SYNC).await.unwrap();
        cloud.run_schedules(queues::TOKEN_REFRESH).await.unwrap();
    }
    for queue in
        [queues::ADAPTIVE_SYNC, queues::TOKEN_REFRESH, queues::CALENDAR_SYNC, queues::GOOGLE_CONTACTS_SYNC]
    {
        cloud.until_done(queue, TIMEOUT).await.unwrap();
    }
    for queue in [queues::TOKEN_REFRESH, queues::CALENDAR_SYNC, queues::GOOGLE_CONTACTS_SYNC] {
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
