//! A configuration that cannot be used is reported whole.

use std::process::Command;

use catchup::queues;
use shared::queue::Queue;

fn function(queue: Queue) -> Command {
    let folder = local_cloud::functions::built_programs().unwrap();
    let program = local_cloud::functions::program(&folder, queue.name())
        .unwrap_or_else(|| panic!("{} is not built: run cargo build --workspace first", queue.name()));
    let mut command = Command::new(program);
    command.env_clear();
    command
}

#[test]
fn all_problems_are_listed_together_without_values_and_end_with_code_2() {
    for queue in
        [queues::TOKEN_REFRESH, queues::ADAPTIVE_SYNC, queues::CALENDAR_SYNC, queues::GOOGLE_CONTACTS_SYNC]
    {
        let output = function(queue)
            .env("PORT", "eighty")
            .env("UPSTASH_REDIS_REST_URL", "http://redis.example.com")
            .env("UPSTASH_REDIS_REST_TOKEN", "hunter2")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for name in [
            "PORT is malformed",
            "DATABASE_URL",
            "UPSTASH_REDIS_REST_URL",
            "GCP_PROJECT_ID",
            "GCP_REGION",
            "CLOUD_RUN_URL",
            "SERVICE_ACCOUNT_EMAIL",
        ] {
            assert!(text.contains(name), "{name} is missing in:\n{text}");
        }
        if queue != queues::ADAPTIVE_SYNC {
            for name in ["ENCRYPTION_KEY", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"] {
                assert!(text.contains(name), "{name} is missing in:\n{text}");
            }
        }
        assert!(!text.contains("hunter2") && !text.contains("eighty"), "{text}");
    }
}

#[test]
fn help_names_every_variable() {
    let output = function(queues::ADAPTIVE_SYNC).arg("--help").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for variable in shared::config::variables::ALL.iter().chain(catchup::variables::ALL) {
        assert!(text.contains(variable.name), "{}", variable.name);
    }
}

#[test]
fn an_unknown_argument_is_refused() {
    let output = function(queues::ADAPTIVE_SYNC).arg("--verbose").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_table_of_variables_is_up_to_date() {
    let page = std::fs::read_to_string(tests::document::VARIABLES).unwrap();
    assert_eq!(page, tests::document::with_variables(&page), "run cargo run --package tests --bin document");
}
