//! The role of operators in the database.

use catchup::db::operators;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tests::database::Database;
use uuid::Uuid;

#[tokio::test]
async fn operators_read_what_is_ours_and_change_what_their_commands_change() {
    let database = Database::new().await;
    // A server has the roles of all its databases, and a name such as an IAM user's has to be quoted.
    let name = format!("on-call-{}@example.test", Uuid::new_v4());
    let mut owner = database.connect().await;
    owner.execute(AssertSqlSafe(format!("CREATE ROLE \"{name}\""))).await.unwrap();
    for _ in 0..2 {
        operators::grant(database.options.clone(), std::slice::from_ref(&name)).await.unwrap();
    }
    // Of a migration that is run later.
    owner.execute("CREATE TABLE jobs.later (id integer)").await.unwrap();

    let mut operator = PgConnection::connect_with(&database.options).await.unwrap();
    operator.execute(AssertSqlSafe(format!("SET ROLE \"{name}\""))).await.unwrap();
    for (statement, may) in [
        ("SELECT count(*) FROM jobs.dead_letters", true),
        ("SELECT count(*) FROM jobs.later", true),
        ("SELECT count(*) FROM jobs.sweeps", true),
        ("UPDATE jobs.dead_letters SET state = 'sent' WHERE false", true),
        ("DELETE FROM jobs.failures WHERE false", true),
        ("DELETE FROM jobs.notification_deliveries WHERE false", true),
        ("DELETE FROM jobs.opt_outs WHERE false", true),
        ("INSERT INTO jobs.operator_actions SELECT * FROM jobs.operator_actions WHERE false", true),
        ("UPDATE jobs.operator_actions SET changed = 1 WHERE false", true),
        ("UPDATE jobs.operator_actions SET who = 'another' WHERE false", false),
        ("DELETE FROM jobs.operator_actions WHERE false", false),
        ("INSERT INTO jobs.bulk_members SELECT * FROM jobs.bulk_members WHERE false", true),
        ("UPDATE jobs.bulk_members SET outcome = 'failed', error = '', at = now() WHERE false", true),
        ("UPDATE jobs.bulk_members SET dead_letter = 'another' WHERE false", false),
        ("DELETE FROM jobs.bulk_members WHERE false", false),
        ("INSERT INTO jobs.error_states SELECT * FROM jobs.error_states WHERE false", true),
        ("UPDATE jobs.error_states SET state = 'fixed' WHERE false", true),
        ("DELETE FROM jobs.error_states WHERE false", true),
        ("INSERT INTO jobs.later VALUES (1)", false),
        ("DELETE FROM jobs.sweeps WHERE false", false),
        ("CREATE TABLE jobs.other ()", false),
        ("SELECT count(*) FROM oauth_tokens", false),
    ] {
        let code = operator.execute(statement).await.err();
        let code =
            code.and_then(|error| error.into_database_error()?.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), (!may).then_some("42501"), "{statement}");
    }
    operator.execute("RESET ROLE").await.unwrap();
    owner.execute(AssertSqlSafe(format!("DROP ROLE \"{name}\""))).await.unwrap();
}
