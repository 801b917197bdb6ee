//! What is kept of a user whom the application has deleted can be deleted before a sweep does.

use serde_json::{Value, json};

use crate::operator::{System, ops_with, user};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_user_who_is_gone_is_forgotten_and_by_an_operator() {
    let system = System::start().await;
    system.fail(2).await;
    let (gone, other) = (user(1).to_string(), user(2).to_string());
    for id in [&gone, &other] {
        let columns = "user_id, channel, subject, claimed_at";
        let ledger = format!(
            "INSERT INTO jobs.notification_deliveries ({columns}) VALUES ('{id}', 'sms', 's', now())"
        );
        system.stack.run(&ledger).await;
        let application =
            format!("INSERT INTO users (id, email, google_id) VALUES ('{id}', '{id}@example.test', '{id}')");
        system.stack.run(&application).await;
    }
    let refused = system.ops(&["user", "forget", &gone, "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("the application still has the user"), "{refused:?}");
    system.stack.run(&format!("DELETE FROM users WHERE id = '{gone}'")).await;

    // With no more than an operator's rights.
    let (environment, role) = system.environment_of_operator().await;
    let unasked = ops_with(&environment, &["user", "forget", &gone]);
    assert!(unasked.code == 1 && unasked.err.contains("pass --yes"), "{unasked:?}");
    let dry = ops_with(&environment, &["user", "forget", &gone, "--dry-run", "--json"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    let rows = json!({ "dead_letters": 1, "failures": 1, "notification_deliveries": 1 });
    assert_eq!(dry.json(), json!({ "rows": rows, "deleted": 0 }));
    let said = ops_with(&environment, &["user", "forget", &gone, "--yes", "--why", "asked for"]);
    assert_eq!((said.code, said.err.as_str()), (0, "3 rows deleted\n"), "{said:?}");
    let again = ops_with(&environment, &["user", "forget", &gone, "--yes"]);
    assert_eq!((again.code, again.all()), (0, format!("no rows of the user {gone}\n")));

    let left: Vec<(uuid::Uuid,)> = system
        .stack
        .rows("SELECT user_id FROM jobs.dead_letters UNION ALL SELECT user_id FROM jobs.failures UNION ALL SELECT user_id FROM jobs.notification_deliveries")
        .await;
    assert_eq!(left, [(user(2),); 3]);
    let of_role = format!("FROM jobs.operator_actions WHERE who = '{role}' AND user_id IS NULL");
    let actions: Vec<(String, Option<i64>, Value)> =
        system.stack.rows(&format!("SELECT action, changed, filter {of_role}")).await;
    assert_eq!(actions, [("forget".to_owned(), Some(3), json!({ "user": gone }))]);
}
