//! The role of operators in the database.

use catchup::db::handover::Handovers;
use catchup::db::operators;
use catchup::db::user_overview::UserOverview;
use catchup::queues::DECLARATION;
use shared::db::sweeps::Sweeps;
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
        ("SELECT access_token FROM oauth_tokens", false),
        ("SELECT refresh_token FROM oauth_tokens", false),
        ("SELECT * FROM oauth_tokens", false),
        ("SELECT email FROM users", false),
        ("SELECT reasoning FROM suggestions", false),
        ("SELECT count(*) FROM contacts", false),
        ("SELECT count(*) FROM calendar_events", false),
        ("UPDATE users SET timezone = 'UTC' WHERE false", false),
    ] {
        let code = operator.execute(statement).await.err();
        let code =
            code.and_then(|error| error.into_database_error()?.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), (!may).then_some("42501"), "{statement}");
    }
    drop(operator);

    // What the questions of operators read of the application.
    owner.execute(AssertSqlSafe(format!("ALTER ROLE \"{name}\" LOGIN"))).await.unwrap();
    let as_operator = shared::db::Database::connect_lazily(database.options.clone().username(&name), 1);
    Handovers::from(as_operator.clone()).open_work().await.unwrap();
    let overview = UserOverview::from(as_operator.clone());
    assert!(overview.of(Uuid::new_v4(), 1).await.unwrap().is_none());
    let user = database.user(&[]).await;
    assert!(overview.of(user, 1).await.unwrap().is_some());
    let sweeps = Sweeps::from(as_operator.clone());
    assert!(sweeps.has_user(&DECLARATION.retention, user).await.unwrap());
    let refused = Handovers::from(as_operator).any_token().await.unwrap_err();
    assert!(refused.is_permission_denied(), "{refused:?}");
    owner.execute(AssertSqlSafe(format!("DROP ROLE \"{name}\""))).await.unwrap();
}

#[tokio::test]
async fn who_does_not_own_the_applications_tables_is_told_who_has_to_give_rights_on_them() {
    let database = Database::new().await;
    let name = format!("migrations-{}", Uuid::new_v4());
    let mut owner = database.connect().await;
    let own = format!(
        "CREATE ROLE \"{name}\" LOGIN CREATEROLE;
         ALTER SCHEMA jobs OWNER TO \"{name}\";
         DO $$ DECLARE found regclass; BEGIN
             FOR found IN SELECT oid FROM pg_class WHERE relnamespace = 'jobs'::regnamespace AND relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s OWNER TO \"{name}\"', found);
             END LOOP;
         END $$"
    );
    owner.execute(AssertSqlSafe(own)).await.unwrap();
    let options = database.options.clone().username(&name);
    let error = operators::grant(options, &[]).await.unwrap_err();
    let said = error.to_string();
    assert!(
        matches!(error, operators::Error::NotOwner(_)) && said.contains("owns the application's tables"),
        "{said}"
    );
}
