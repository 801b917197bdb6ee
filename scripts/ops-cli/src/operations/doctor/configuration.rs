//! The environment of this command: what is malformed, and secrets that were stored with white space around them.

use catchup::notify::check_senders;
use catchup::variables as product;
use shared::config::variables::{self, SECRET};
use shared::config::{Config, Problem, Variable};
use shared::db::Database;
use shared::pace::Pace;
use shared::redis::Redis;

use super::super::cloud_monitoring::CloudMonitoring;
use super::super::cloud_run::CloudRun;
use super::super::cloud_scheduler::CloudScheduler;
use super::super::cloud_tasks::CloudTasks;
use super::Checks;

/// What of the environment names senders of messages.
const SENDERS: [&Variable; 4] = [
    &product::SENDGRID_FROM_EMAIL,
    &product::SMTP_FROM_EMAIL,
    &product::TWILIO_MESSAGING_SERVICE_SID,
    &product::TWILIO_PHONE_NUMBER,
];

pub(super) fn check(config: &mut Config, checks: &mut Checks) {
    variables(config, checks);
    white_space(config, checks);
}

/// Each variable that is needed here, read as it is read before it is used.
fn variables(config: &mut Config, checks: &mut Checks) {
    let before = config.problems().len();
    let _problems_are_collected = (
        Database::from_config(config).map(drop),
        CloudTasks::from_config(config).map(drop),
        CloudMonitoring::from_config(config).map(drop),
        CloudRun::from_config(config).map(drop),
        CloudScheduler::from_config(config).map(drop),
        Redis::from_config(config).map(drop),
        Pace::from_config(config).map(drop),
    );
    let problems = config.problems().split_off(before);
    for problem in problems.iter().filter(|it| !it.is_unset()) {
        checks.failed(&problem.name, &problem.what, format!("set {} to {}", problem.name, problem.form));
    }
    // Of what is not set, the checks that need it say so.
    if problems.iter().all(Problem::is_unset) {
        let set = all().filter(|variable| config.has(variable)).count();
        checks
            .ok("configuration", format!("{set} variables are set, and none that is read here is malformed"));
    }
}

/// Functions trim what they read. Other programs that read the same secret do not, and use a wrong one.
fn white_space(config: &Config, checks: &mut Checks) {
    let mut is_clean = true;
    for Variable { name, place, .. } in all().filter(|variable| config.was_trimmed(variable)) {
        is_clean = false;
        let here = format!(r#"export {name}="$(printf %s "${name}" | awk 'NF {{ $1 = $1; print }}')""#);
        let fix = if *place == SECRET {
            format!(
                "{here}  # and store the secret without it: printf %s VALUE | gcloud secrets versions add NAME --data-file=-"
            )
        } else {
            here
        };
        checks.failed(*name, "its value has white space or a line break at an end", fix);
    }
    if is_clean {
        checks.ok("white space", "no variable has any at its ends");
    }
}

/// The addresses that messages come from, as the functions check them at their start.
pub(super) fn senders(config: &mut Config, of: Option<&str>, checks: &mut Checks) {
    let subject = of.map_or_else(|| "senders".to_owned(), |of| format!("{of}: senders"));
    if !SENDERS.iter().any(|variable| config.has(variable)) {
        if of.is_none() {
            checks.unknown(subject, "no sender of messages is configured here");
        }
        return;
    }
    let before = config.problems().len();
    if check_senders(config).is_ok() {
        return checks.ok(subject, "the addresses that messages come from are well-formed");
    }
    for problem in config.problems().split_off(before) {
        checks.failed(
            subject.clone(),
            format!("{} {}", problem.name, problem.what),
            format!("set {} to {} in {}", problem.name, problem.form, problem.place),
        );
    }
}

fn all() -> impl Iterator<Item = &'static Variable> {
    variables::ALL.iter().chain(product::ALL)
}
