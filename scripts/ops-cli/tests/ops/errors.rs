//! What operators say of errors, and when an error that is fixed or ignored is listed again.

use serde_json::{Value, json};

use crate::console::Console;
use crate::operator::{System, user};

/// The fingerprint of the only error.
fn fingerprint(listed: &Value) -> String {
    assert_eq!(listed["errors"].as_array().unwrap().len(), 1, "{listed}");
    listed["errors"][0]["fingerprint"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_fixed_is_counted_and_listed_again_when_it_regresses() {
    let system = System::start().await;
    system.fail(1).await;
    let listed = system.succeeds(&["errors", "--json"]).json();
    let error = fingerprint(&listed);
    assert_eq!((&listed["errors"][0]["state"], &listed["errors"][0]["isCut"]), (&Value::Null, &json!(false)));
    let bars = listed["errors"][0]["bars"].as_array().unwrap();
    assert_eq!(bars.iter().filter_map(Value::as_i64).sum::<i64>(), 1, "{listed}");

    // In a revision that does not run yet.
    system.succeeds(&["errors", "fixed", &error, "--revision", "zzz", "--why", "repaired"]);
    let said = system.succeeds(&["errors"]);
    assert!(said.out.is_empty() && said.err.contains("no errors since "), "{said:?}");
    assert!(said.err.contains("not shown: 1 fixed, 0 ignored; --all lists them"), "{said:?}");
    assert!(system.succeeds(&["errors", "--all"]).out.contains("fixed in zzz"));
    system.run_task(&json!({ "n": 10 })).await;
    assert!(system.succeeds(&["errors"]).out.is_empty(), "an older revision is no regression");

    system.succeeds(&["errors", "fixed", &error]);
    assert!(system.succeeds(&["errors"]).out.is_empty());
    system.run_task(&json!({ "n": 11 })).await;
    let said = system.succeeds(&["errors"]);
    assert!(said.out.contains("regressed: fixed") && !said.err.contains("not shown"), "{said:?}");

    system.succeeds(&["errors", "reopen", &error]);
    assert!(system.succeeds(&["errors"]).out.contains("open"));
    let actions: Vec<(String, Option<i64>, Value)> =
        system.stack.rows("SELECT action, changed, filter FROM jobs.operator_actions ORDER BY at").await;
    let (action, changed, filter) = &actions[0];
    assert_eq!((action.as_str(), *changed), ("fix_error", Some(1)));
    assert_eq!(filter, &json!({ "queue": "token-refresh", "fingerprint": error, "revision": "zzz" }));
    assert_eq!(actions[2].0, "reopen_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_ignored_is_listed_again_after_its_count() {
    let system = System::start().await;
    system.fail(1).await;
    let error = fingerprint(&system.succeeds(&["errors", "--json"]).json());
    system.succeeds(&["errors", "ignore", &error, "--until-count", "2"]);
    for n in 10..12 {
        let listed = system.succeeds(&["errors", "--json"]).json();
        assert_eq!((&listed["errors"], &listed["hidden"]["ignored"]), (&json!([]), &json!(1)));
        system.run_task(&json!({ "n": n })).await;
    }
    assert!(system.succeeds(&["errors"]).out.contains("reached: ignored until 2 more"));
    for (arguments, code, expected) in [
        (&["errors", "fixed", "unknown"][..], 1, "there is no error with the fingerprint unknown"),
        (&["errors", "fixed", &error, "--queue", "calendar-sync"], 1, "calendar-sync has no error with"),
        (&["errors", "fixed", &error, "--queue", "token-refesh"], 2, "did you mean token-refresh?"),
        (&["errors", "ignore", &error], 2, "--until-count"),
        (&["errors", "ignore", &error, "--until-count", "0"], 2, "0 is not in 1..=10000"),
    ] {
        let said = system.ops(arguments);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(expected), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_ignored_and_reopened_from_its_page() {
    let system = System::start().await;
    system.fail(2).await;
    let console = Console::start(&system.environment()).await;
    let page = console.page("/errors").await;
    let error = fingerprint(&json!({ "errors": console.json("/errors?json").await["errors"]["items"] }));
    assert!(page.contains("replay all 2&nbsp;…") && page.contains("<svg class=\"bars\""), "{page}");
    let path = format!("/errors/change?queue=token-refresh&fingerprint={error}");
    let form = console.page(&path).await;
    assert!(form.contains("<dt>state</dt><dd>open</dd>"), "{form}");
    let ignored = console.fill("/errors/change", &form, &[("action", "ignore"), ("until-count", "9")]).await;
    assert_eq!(ignored.location, "/errors", "{}", ignored.text);
    let page = console.page("/errors").await;
    assert!(
        page.contains("No errors since then.") && page.contains("not shown: 0 fixed, 1 ignored"),
        "{page}"
    );
    let all = console.page("/errors?all").await;
    assert!(all.contains("ignored until 9 more"), "{all}");
    let reopened = console.fill("/errors/change", &console.page(&path).await, &[("action", "reopen")]).await;
    assert_eq!(reopened.location, "/errors", "{}", reopened.text);
    assert!(console.page("/errors").await.contains(">open</a>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_names_a_few_users_and_how_many_more_and_each_dead_letter_its_own() {
    let system = System::start().await;
    system.fail(2).await;
    let two = system.succeeds(&["errors", "--json"]).json();
    assert_eq!(two["errors"][0]["firstUsers"], json!([user(1), user(2)]), "{two}");
    let named = format!("2: {} {}", user(1), user(2));
    let said = system.succeeds(&["errors"]).out;
    assert!(said.contains(&named) && !said.contains("more"), "{said}");
    for n in 3..=5 {
        system.run_task(&json!({ "n": n, "userId": user(n) })).await;
    }
    let five = system.succeeds(&["errors", "--json"]).json();
    let error = &five["errors"][0];
    assert_eq!((&error["users"], error["firstUsers"].as_array().unwrap().len()), (&json!(5), 3), "{five}");
    let named = format!("5: {} {} {} and 2 more", user(1), user(2), user(3));
    let said = system.succeeds(&["errors"]).out;
    assert!(said.contains(&named), "{said}");
    let console = Console::start(&system.environment()).await;
    let page = console.page("/errors").await;
    assert_eq!(page.matches("<a href=\"/users/").count(), 3, "{page}");
    assert!(page.contains(&format!("<a href=\"/users/{0}\">{0}</a> and 2 more", user(3))), "{page}");

    // A task that is about no user.
    system.run_task(&json!({ "n": 6 })).await;
    let listed = system.succeeds(&["dead-letters", "list"]).out;
    let users: Vec<_> = listed.lines().map(|line| line.split("  ").nth(3).unwrap().to_owned()).collect();
    let mut expected: Vec<_> = (1..=5).map(|n| format!("user {}", user(n))).collect();
    expected.push("user -".to_owned());
    assert_eq!(users, expected, "oldest first: {listed}");
}
