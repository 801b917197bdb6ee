//! The sweep's pages, windows and names.

use catchup::queues;
use chrono::{DateTime, Datelike, NaiveTime, SecondsFormat, TimeDelta, Utc, Weekday};
use serde_json::json;
use shared::clock::Clock;
use tests::{Answer, Delivery};

use crate::fixture::{Fixture, task};

/// One more than a page of the sweep.
const MANY: u32 = 501;
/// The first of users by id.
const FIRST: &str = "00000000-0000-4000-8000-000000000001";

/// So many minutes after nine o'clock, UTC, of the Sunday before last.
fn at(minutes: i64) -> DateTime<Utc> {
    let today = Clock::system().now().date_naive();
    let sunday = today.week(Weekday::Sun).first_day() - TimeDelta::days(7);
    sunday.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(9) + TimeDelta::minutes(minutes)
}

/// The sweep of a moment, wherever the clock is.
fn sweep_at(moment: DateTime<Utc>) -> Delivery {
    Delivery::new(json!({ "data": {}, "jobName": "batch-notifications", "enqueuedAt": moment }).to_string())
}

/// A sweep that ran on time.
async fn punctual(fixture: &Fixture, moment: DateTime<Utc>) -> Answer {
    let answer = fixture.service.deliver(sweep_at(moment)).await;
    let began_now = "started_at > now() - interval '1 hour'";
    fixture.stack.run(&format!("UPDATE jobs.sweeps SET started_at = '{moment}' WHERE {began_now}")).await;
    answer
}

async fn many(fixture: &Fixture) {
    fixture
        .stack.run(&format!(
            "INSERT INTO users (id, email, google_id, timezone)
             SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.test', n::text,
                (ARRAY['Africa/Lagos', NULL, 'Nowhere/Atall'])[1 + n % 3]
             FROM generate_series(1, {MANY}) n;
             INSERT INTO notification_preferences (user_id, batch_day, batch_time, timezone)
             SELECT id, CASE WHEN timezone IS NULL THEN NULL ELSE 0 END,
                CASE timezone WHEN 'Africa/Lagos' THEN '10:00' WHEN 'Nowhere/Atall' THEN 'nine' END, NULL
             FROM users"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_through_all_users_in_pages_of_one_window_and_twice_creates_nothing_twice() {
    let fixture = Fixture::new().await;
    many(&fixture).await;
    // By the defaults, and by each zone's name, everybody's time.
    let answer = punctual(&fixture, at(5)).await;
    answer.check_done(&json!({ "due": 500, "created": 500, "existing": 0, "continued": true }));
    let tasks = fixture.stack.take_tasks(queues::BATCH_NOTIFICATIONS).await;
    let (rest, users): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| task.data().get("cursor").is_some());
    assert_eq!((rest.len(), users.len()), (1, 500));
    let first = users.iter().map(Delivery::data).find(|data| data["userId"] == FIRST).unwrap();
    assert_eq!(first, json!({ "userId": FIRST, "dayOfWeek": 0, "time": "09:00" }));
    let text = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Secs, true);
    assert_eq!(rest[0].data()["sweepId"], format!("{}/{}", text(at(-15)), text(at(0))));

    // Another sweep in between, which covers the window of the unfinished one too, changes nothing for the rest of
    // that.
    let answer = punctual(&fixture, at(15)).await;
    answer.check_done(&json!({ "due": 500, "created": 0, "existing": 500, "continued": true }));
    let answer = fixture.service.deliver(rest[0].clone()).await;
    answer.check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
    let answer = fixture.service.deliver(rest[0].clone()).await;
    assert_eq!(answer.body["duplicate"], true);

    let answer = punctual(&fixture, at(5)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "swept_already"));
    // Even one whose window was forgotten finds the names taken.
    fixture.stack.run("DELETE FROM jobs.sweeps").await;
    let answer = punctual(&fixture, at(5)).await;
    answer.check_done(&json!({ "due": 500, "created": 0, "existing": 500, "continued": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_after_others_failed_finds_what_they_would_have_found() {
    const DAY: i64 = 24 * 60;
    let fixture = Fixture::new().await;
    many(&fixture).await;
    fixture.stack.run(&format!("DELETE FROM users WHERE id <> '{FIRST}'")).await;
    // An outage may last for days.
    for (moment, due) in [(-30, 0), (150, 1), (165, 0), (6 * DAY + 165, 0)] {
        let answer = punctual(&fixture, at(moment)).await;
        answer.check_done(&json!({ "due": due, "created": due, "existing": 0, "continued": false }));
    }
    fixture.stack.run("UPDATE notification_preferences SET batch_day = 1").await;
    let answer = fixture.service.deliver(sweep_at(at(7 * DAY))).await;
    answer.check_done(&json!({ "due": 0, "created": 0, "existing": 0, "continued": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_sweeps_of_a_two_days_outage_the_first_runs_and_the_present_one_does_the_rest() {
    let fixture = Fixture::new().await;
    many(&fixture).await;
    fixture.stack.run(&format!("DELETE FROM users WHERE id <> '{FIRST}'")).await;
    let (begin, now) = (at(-24 * 60), Clock::system().now());
    for quarter in 0..192 {
        let answer = fixture.service.deliver(sweep_at(begin + TimeDelta::minutes(15) * quarter)).await;
        let expected = if quarter == 0 { ("done", "") } else { ("skipped", "superseded") };
        assert_eq!((answer.outcome(), answer.reason()), expected, "{quarter}");
    }
    // What the superseded ones would have found is in the window of the next one: of the last six days at most.
    let weekday = (now - TimeDelta::days(1)).weekday().num_days_from_sunday();
    fixture.stack.run(&format!("UPDATE notification_preferences SET batch_day = {weekday}")).await;
    let answer = fixture.service.deliver(sweep_at(now)).await;
    answer.check_done(&json!({ "due": 1, "created": 1, "existing": 0, "continued": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_comes_from_the_future_covers_no_more_than_the_present() {
    let fixture = Fixture::new().await;
    let answer = fixture.service.deliver(sweep_at("2126-01-11T09:00:00Z".parse().unwrap())).await;
    assert_eq!(answer.outcome(), "done");
    let sweeps = fixture.stack.rows::<(bool,)>(
        "SELECT split_part(sweep_id, '/', 2)::timestamptz <= now() + interval '1 minute' FROM jobs.sweeps",
    );
    assert_eq!(sweeps.await, [(true,)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_no_window_is_a_dead_letter() {
    let fixture = Fixture::new().await;
    let answer = fixture.service.deliver(task(&json!({ "sweepId": "another" }))).await;
    assert_eq!((answer.status, answer.outcome()), (200, "dead"));
}
