//! From a change in a calendar to another suggestion, over real processes, without any other trigger.

use catchup::queues;
use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::{Event, Integration};
use serde_json::json;
use uuid::Uuid;

use super::{TIMEOUT, database, healthy, run, small, start};
use tests::within;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_entered_at_google_makes_room_for_itself() {
    let mut cloud = start(small()).await;
    let world = cloud.world().clone();
    let user = healthy(&world, Integration::GoogleCalendar, |world, user| {
        let both = world.user(user).unwrap().contacts_grant.is_some();
        both && world.calendars(user).unwrap().iter().any(|calendar| calendar.primary)
    });
    let mut db = database(&cloud).await;
    let followed = "UPDATE google_calendars SET selected = is_primary WHERE user_id = $1";
    sqlx::query(followed).bind(user).execute(&mut db).await.unwrap();
    run(&mut cloud, queues::GOOGLE_CONTACTS_SYNC, &json!({ "userId": user, "syncType": "full" })).await;
    run(&mut cloud, queues::CALENDAR_SYNC, &json!({ "userId": user })).await;
    run(&mut cloud, queues::WEBHOOK_RENEWAL, &json!({ "userId": user })).await;
    run(&mut cloud, queues::SUGGESTION_GENERATION, &json!({ "userId": user })).await;
    let (suggestion, start): (Uuid, DateTime<Utc>) = sqlx::query_as(
        "SELECT id, proposed_timeslot_start FROM suggestions
         WHERE user_id = $1 AND status = 'pending' AND proposed_timeslot_start > now() + interval '1 hour'
         ORDER BY proposed_timeslot_start LIMIT 1",
    )
    .bind(user)
    .fetch_one(&mut db)
    .await
    .unwrap();

    let event = Event::timed("Dentist", start, TimeDelta::minutes(30));
    let event = world.add_event(user, "primary", event).unwrap();
    let url = cloud.database().clone();
    within(TIMEOUT, "told by Google", || async {
        let mut db = local_cloud::postgres::connect(&url).await.unwrap();
        let heard: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM webhook_notifications
                            WHERE user_id = $1 AND resource_state = 'exists' AND result = 'success'
                              AND created_at > (SELECT max(created_at) FROM suggestions WHERE user_id = $1))",
        )
        .bind(user)
        .fetch_one(&mut db)
        .await
        .unwrap();
        heard
    })
    .await;
    cloud.until_idle(TIMEOUT, |_| {}).await.unwrap();

    let (status, moved_to): (String, DateTime<Utc>) =
        sqlx::query_as("SELECT status::text, proposed_timeslot_start FROM suggestions WHERE id = $1")
            .bind(suggestion)
            .fetch_one(&mut db)
            .await
            .unwrap();
    assert!(status == "pending" && moved_to != start, "{status} for {moved_to}, which was {start}");
    let conflicts: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM suggestions s JOIN calendar_events e ON e.user_id = s.user_id
         WHERE s.user_id = $1 AND e.google_event_id = $2 AND s.status = 'pending'
           AND s.proposed_timeslot_start < e.end_time AND e.start_time < s.proposed_timeslot_end",
    )
    .bind(user)
    .bind(&event.id)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(conflicts, 0);
}
