//! Tasks fail for good: an operator finds out what fails and for whom, reads one, and replays them once the cause is gone.

use serde_json::{Value, json};

use crate::operator::{System, user};

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_found_read_replayed_and_seen_done_with_the_command_line_only() {
    let system = System::start().await;
    system.fail(3).await;

    let queues = system.succeeds(&["queues", "--json"]).json();
    let row =
        queues["queues"].as_array().unwrap().iter().find(|row| row["queue"] == "token-refresh").unwrap();
    assert_eq!(
        (&row["state"], &row["deadLetters"], &row["tasks"]),
        (&json!("running"), &json!(3), &json!(0)),
        "{row}"
    );
    assert!(row["numbers"]["byOutcome"]["dead"].as_u64() >= Some(3), "{row}");

    // What fails, and for whom.
    let errors = system.succeeds(&["errors", "--json"]).json();
    let [error] = &errors["errors"].as_array().unwrap()[..] else { panic!("{errors}") };
    for (field, expected) in [("failures", 3), ("tasks", 3), ("users", 3), ("deadLetters", 3)] {
        assert_eq!(error[field], json!(expected), "{field} of {error}");
    }
    let said = system.succeeds(&["errors", "--queue", "token-refresh-queue"]).out;
    assert!(said.contains("permanent failure: the vendor refuses it"), "{said}");

    // Which, and one of them.
    let fingerprint = error["fingerprint"].as_str().unwrap();
    let listed = system.succeeds(&["dead-letters", "list", "--fingerprint", fingerprint, "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let of_one = system.succeeds(&["dead-letters", "list", "--user", &user(2).to_string(), "--json"]).json();
    let [dead_letter] = &of_one.as_array().unwrap()[..] else { panic!("{of_one}") };
    let (id, key) = (dead_letter["id"].as_str().unwrap(), dead_letter["key"].as_str().unwrap());
    let shown = system.succeeds(&["dead-letters", "show", id]).out;
    assert!(shown.contains("the vendor refuses it") && shown.contains(r#""n":2"#), "{shown}");
    let shown = system.succeeds(&["show", id]).out;
    assert!(shown.contains("the vendor refuses it") && !shown.contains(r#""n":2"#), "no body: {shown}");
    let explained = system.succeeds(&["explain", key]).out;
    assert!(
        explained.contains("the task is dead; a replay of its dead letter begins a new life"),
        "{explained}"
    );

    // The cause is fixed in the world, and they are replayed once.
    system.fix();
    let dry = system.succeeds(&["dead-letters", "replay", "--queue", "token-refresh", "--dry-run"]).err;
    assert!(dry.contains("3 dead letters with queue token-refresh would be replayed"), "{dry}");
    let unasked = system.ops(&["dead-letters", "replay", "--queue", "token-refresh"]);
    assert_eq!(unasked.code, 1, "{unasked:?}");
    assert!(unasked.err.contains("stdin is not a terminal; pass --yes"), "{unasked:?}");
    let runs = system.probe.runs();
    let replay =
        ["dead-letters", "replay", "--queue", "token-refresh", "--yes", "--why", "the vendor is back"];
    let said = system.succeeds(&replay).err;
    assert!(said.ends_with("3 replayed\n"), "{said}");
    system.until_idle().await;
    assert_eq!(system.probe.runs(), runs + 3);

    // Seen done, and nothing is left.
    let explained = system.succeeds(&["explain", key]).out;
    assert!(explained.contains("a delivery is a duplicate: the task is done"), "{explained}");
    let said = system.succeeds(&["dead-letters", "list", "--queue", "token-refresh"]);
    assert_eq!(said.all(), "no dead letters with queue token-refresh\n");
    let again = system.succeeds(&["dead-letters", "replay", id]).err;
    assert!(again.contains("was replayed before: pass --again"), "{again}");
    assert!(system.stack.tasks.list(System::QUEUE).await.unwrap().is_empty());

    // Who did that, and why.
    let actions = system.succeeds(&["actions", "--json"]).json();
    let replay = &actions["actions"][1];
    assert_eq!(
        (&replay["action"], &replay["count"], &replay["changed"], &replay["why"], &replay["filter"]),
        (
            &json!("replay"),
            &json!(3),
            &json!(3),
            &json!("the vendor is back"),
            &json!({ "queue": "token-refresh" })
        ),
        "{actions}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn discarded_dead_letters_leave_nothing_but_the_record_of_who_did_it() {
    let system = System::start().await;
    system.fail(3).await;
    let one = user(1).to_string();
    let said = system.succeeds(&["dead-letters", "discard", "--user", &one, "--yes"]).err;
    assert!(said.ends_with("1 discarded\n"), "{said}");
    let said = system.succeeds(&["dead-letters", "discard", "--all", "--limit", "1", "--yes"]).err;
    assert!(said.starts_with("the oldest 1 of 2 dead letters would be discarded\n"), "{said}");
    let left = system.succeeds(&["dead-letters", "list", "--limit", "1", "--json"]);
    assert_eq!(left.json().as_array().unwrap().len(), 1);
    let rows: Vec<(String, Option<i64>)> =
        system.stack.rows("SELECT action, changed FROM jobs.operator_actions ORDER BY at").await;
    assert_eq!(rows, [("discard".to_owned(), Some(1)), ("discard".to_owned(), Some(1))]);
    let failures: Vec<(i64,)> = system.stack.rows("SELECT count(*) FROM jobs.failures").await;
    assert_eq!(failures, [(1,)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_cut_says_so_and_an_empty_one_of_what() {
    let system = System::start().await;
    system.fail(2).await;
    let cut = system.succeeds(&["dead-letters", "list", "--limit", "1"]);
    assert_eq!(cut.out.lines().count(), 1);
    assert!(cut.err.contains("the first 1 dead letters; there are more: --limit N shows N"), "{cut:?}");
    let empty = system.succeeds(&["errors", "--queue", "calendar-sync", "--since", "2026-01-01T00:00:00Z"]);
    assert_eq!(empty.all(), "no errors since 2026-01-01T00:00:00Z\n");
}

/// Also what the application says, which has such a user or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_with_what_failed_and_without_what_people_wrote() {
    let system = System::start().await;
    let id = user(1);
    let said = system.ops(&["user", &id.to_string()]);
    assert_eq!((said.code, said.err.as_str()), (1, format!("there is no user {id}\n").as_str()));
    system
        .stack
        .run(&format!(
            "INSERT INTO users (id, email, google_id, name) VALUES ('{id}', 'ada@example.test', 'g', 'Ada')"
        ))
        .await;
    system.stack.run(&format!("INSERT INTO oauth_tokens (user_id, provider, access_token, refresh_token) VALUES ('{id}', 'google_calendar', 'access', 'refresh')")).await;
    system.fail(1).await;
    let said = system.succeeds(&["user", &id.to_string()]).out;
    for shown in ["google_calendar", "token-refresh", "the vendor refuses it"] {
        assert!(said.contains(shown), "{said}");
    }
    for hidden in ["Ada", "ada@", "access", "refresh'"] {
        assert!(!said.contains(hidden), "{said}");
    }
    let shown = system.succeeds(&["show", &id.to_string(), "--json"]).json();
    assert_eq!(shown["deadLetters"]["items"].as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_explained_and_released_only_while_a_run_has_it() {
    let system = System::start().await;
    system.stack.tasks.pause(System::QUEUE).await.unwrap();
    let held = |until_ms: i64| {
        json!({ "run": user(9), "instance": "i-1", "began_ms": until_ms - 60_000, "until_ms": until_ms, "payload": "p" })
            .to_string()
    };
    let now = system.stack.now().timestamp_millis();
    let set = async |value: String| {
        system.stack.redis(&["SET", "jobs:token-refresh:some-key", &value]).await;
    };
    set(held(now + 50_000)).await;
    let explained = system.succeeds(&["explain", "some-key"]).out;
    assert!(
        explained.contains("on instance i-1") && explained.contains("waits until the lease expires"),
        "{explained}"
    );
    let unasked = system.ops(&["release", "some-key"]);
    assert_eq!(unasked.code, 1);
    assert!(unasked.err.contains("its run may be alive"), "{unasked:?}");
    system.succeeds(&["release", "some-key", "--dry-run"]);
    let said =
        system.succeeds(&["release", "some-key", "--queue", "token-refresh", "--yes", "--why", "gone"]).err;
    assert!(said.ends_with("released\n"), "{said}");
    let explained = system.succeeds(&["explain", "some-key", "--queue", "token-refresh"]).out;
    assert!(explained.contains("a delivery runs: attempt 1 of 3"), "{explained}");
    // An expired one needs no question; what is done has no lease.
    set(held(now - 50_000)).await;
    system.succeeds(&["release", "some-key"]);
    set(json!({ "done": null, "payload": "p" }).to_string()).await;
    let said = system.ops(&["release", "some-key"]);
    assert!(said.code == 1 && said.err.contains("there is no lease to release"), "{said:?}");
    let unknown = system.ops(&["explain", "another-key"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.err.contains("no failure, dead letter or lease of a task with the key another-key"),
        "{unknown:?}"
    );
    let recorded: Vec<(String, Value)> =
        system.stack.rows("SELECT action, filter FROM jobs.operator_actions ORDER BY at").await;
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[0].1, json!({ "queue": "token-refresh", "key": "some-key", "run": user(9) }));
}
