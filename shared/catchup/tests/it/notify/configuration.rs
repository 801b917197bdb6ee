//! What a notifier needs to be told.

use catchup::notify::{Notifier, Timeouts};
use shared::config::Config;
use shared::job::Setup;

/// Not needed by a notifier, but by whatever is set up.
const TASKS: [(&str, &str); 3] = [
    ("USE_CLOUD_TASKS", "false"),
    ("CLOUD_RUN_URL", "http://127.0.0.1:1"),
    ("IDENTITY_URL", "http://127.0.0.1:1/identity"),
];
const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://a:b@127.0.0.1:1/c");
const TWILIO: [(&str, &str); 3] = [
    ("TWILIO_ACCOUNT_SID", "AC1"),
    ("TWILIO_AUTH_TOKEN", "hunter2"),
    ("TWILIO_PHONE_NUMBER", "+15005550006"),
];

#[track_caller]
fn check(environment: &[(&str, &str)], expected: &[&str]) {
    let mut setup = Setup::new(Config::from_pairs(TASKS.iter().chain(environment).copied()));
    let notifier = Notifier::new(&mut setup, Timeouts::default());
    let problems = setup.config().problems();
    let names: Vec<&str> = problems.iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!((names.as_slice(), notifier.is_ok()), (expected, expected.is_empty()), "{problems:?}");
    let shown = format!("{problems:?} {notifier:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn everything_that_is_missing_is_reported_together() {
    check(
        &[],
        &[
            "DATABASE_URL",
            "UPSTASH_REDIS_REST_URL",
            "UPSTASH_REDIS_REST_TOKEN",
            "TWILIO_ACCOUNT_SID",
            "TWILIO_AUTH_TOKEN",
            "TWILIO_PHONE_NUMBER",
            "SENDGRID_API_KEY",
            "SENDGRID_FROM_EMAIL",
            "APP_BASE_URL",
            "WEBHOOKS_URL",
            "LINK_SIGNING_KEYS",
        ],
    );
}

#[tokio::test]
async fn only_the_chosen_provider_of_e_mail_is_asked_for() {
    let rest = [
        DATABASE,
        ("UPSTASH_REDIS_REST_URL", "http://127.0.0.1:1"),
        ("UPSTASH_REDIS_REST_TOKEN", "hunter2"),
        ("APP_BASE_URL", "https://app.example.test"),
        ("WEBHOOKS_URL", "https://webhooks.example.test"),
        ("LINK_SIGNING_KEYS", tests::messaging::LINK_SIGNING_KEY),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&rest[..], &TWILIO, more].concat();
    check(&with(&[]), &["SENDGRID_API_KEY", "SENDGRID_FROM_EMAIL"]);
    check(&with(&[("SENDGRID_API_KEY", "hunter2"), ("SENDGRID_FROM_EMAIL", "a@b.example")]), &[]);
    check(&with(&[("EMAIL_PROVIDER", "smtp")]), &["SMTP_URL", "SMTP_FROM_EMAIL"]);
    let smtp = [("EMAIL_PROVIDER", "smtp"), ("SMTP_FROM_EMAIL", "a@b.example")];
    check(&with(&[smtp[0], smtp[1], ("SMTP_URL", "smtps://u:hunter2@mail.example.org")]), &[]);
    check(&with(&[smtp[0], smtp[1], ("SMTP_URL", "https://u:hunter2@mail.example.org")]), &["SMTP_URL"]);
    check(
        &with(&[smtp[0], ("SMTP_FROM_EMAIL", "no-address"), ("SMTP_URL", "smtps://m.example")]),
        &["SMTP_FROM_EMAIL"],
    );
    check(&with(&[("EMAIL_PROVIDER", "pigeon")]), &["EMAIL_PROVIDER"]);
    for address in ["no-address", "a@localhost", "ä@b.example"] {
        check(
            &with(&[("SENDGRID_API_KEY", "hunter2"), ("SENDGRID_FROM_EMAIL", address)]),
            &["SENDGRID_FROM_EMAIL"],
        );
    }
}
