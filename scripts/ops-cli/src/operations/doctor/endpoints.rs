//! Whether Google's endpoints respond, and whether the clock of this machine is theirs.

use std::time::Duration;

use catchup::variables::{CALENDAR_WEBHOOK_URL, GOOGLE_API_URL, GOOGLE_TOKEN_URL};
use chrono::{DateTime, TimeDelta, Utc};
use shared::config::variables::CLOUD_TASKS_URL;
use shared::config::{Config, Variable};
use shared::http;
use shared::pace::Pace;
use url::Url;

use super::super::Operations;
use super::Checks;
use crate::takeover::findings::Findings;
use crate::takeover::push_address;

const TIMEOUT: Duration = Duration::from_secs(5);
/// The header has whole seconds.
const RESOLUTION: TimeDelta = TimeDelta::seconds(1);
/// Where Calendar and People are, unless `GOOGLE_API_URL` says otherwise.
const APIS: [(&str, &str); 2] =
    [("Calendar", "https://www.googleapis.com/"), ("People", "https://people.googleapis.com/")];

pub(super) async fn check(config: &mut Config, operations: &Operations, checks: &mut Checks) {
    let mut skew = None;
    for (name, variable, url) in endpoints(config, operations.is_local()) {
        let Some(url) = url else {
            checks.unknown(name, format!("{} is not set on this machine", variable.name));
            continue;
        };
        match ask(&url, operations).await {
            Ok(found) => {
                checks.ok(name, format!("{} responds", shown(&url)));
                skew = skew.or(found);
            }
            Err(error) => checks.failed(
                name,
                format!("{} does not respond: {error:#}", shown(&url)),
                format!("see that this machine may connect to it; {} names another", variable.name),
            ),
        }
    }
    clock(skew, checks);
    push(config, checks).await;
}

/// What is asked: name, variable, and where it is if it is known here. On a machine with a Cloud Tasks of its own, Google's are not
/// those of the functions.
fn endpoints(config: &mut Config, is_local: bool) -> Vec<(&'static str, &'static Variable, Option<Url>)> {
    let mut given = |variable: &Variable| {
        let is_known = config.has(variable) || !is_local;
        config.optional::<Url>(variable).ok().flatten().filter(|_| is_known)
    };
    let api = given(&GOOGLE_API_URL);
    let mut endpoints = vec![
        ("Cloud Tasks", &CLOUD_TASKS_URL, given(&CLOUD_TASKS_URL)),
        ("Google tokens", &GOOGLE_TOKEN_URL, given(&GOOGLE_TOKEN_URL)),
    ];
    for (name, google) in APIS {
        let url = api.clone().or_else(|| google.parse().ok().filter(|_| !is_local));
        endpoints.push((name, &GOOGLE_API_URL, url));
    }
    endpoints
}

/// Asks for anything: also a refusal is a response, and has the time.
async fn ask(url: &Url, operations: &Operations) -> anyhow::Result<Option<TimeDelta>> {
    let asked = operations.clock.now();
    let response = http::client(TIMEOUT, TIMEOUT).get(url.clone()).send().await;
    let response = response.map_err(reqwest::Error::without_url)?;
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    Ok(date.map(|date| skew(date.to_utc(), asked, operations.clock.now())))
}

/// How far the clock of this machine is from that of the server at least: it wrote `date` at some time from `asked` to `answered`.
fn skew(date: DateTime<Utc>, asked: DateTime<Utc>, answered: DateTime<Utc>) -> TimeDelta {
    let (behind, ahead) = (date - answered, asked - RESOLUTION - date);
    behind.max(ahead).max(TimeDelta::zero())
}

fn clock(skew: Option<TimeDelta>, checks: &mut Checks) {
    // The clocks of functions may differ by as much.
    let most = Pace::default().grace();
    match skew {
        None => checks.unknown("clock", "no server said its time"),
        Some(skew) if skew > most => checks.failed(
            "clock",
            format!(
                "differs from that of a server by {} s, and {} s are tolerated",
                skew.num_seconds(),
                most.num_seconds()
            ),
            "sudo timedatectl set-ntp true  # on macOS: sudo sntp -sS time.apple.com",
        ),
        Some(_) => checks.ok("clock", format!("within {} s of that of a server", most.num_seconds())),
    }
}

/// The push address of this environment; those of services are checked with them.
async fn push(config: &mut Config, checks: &mut Checks) {
    let Some(address) = config.optional::<String>(&CALENDAR_WEBHOOK_URL).ok().flatten() else { return };
    let mut findings = Findings::default();
    push_address::ask(&address, &mut findings).await;
    checks.take("webhooks", &findings, |_| push_fix());
}

/// What is done about a push address that does not lead to the receiver.
pub(super) fn push_fix() -> String {
    format!("set {} to what terraform output calendar_webhook_url says", CALENDAR_WEBHOOK_URL.name)
}

fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_differs_by_what_no_delay_explains() {
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
        let check = |date: i64, expected: i64| {
            assert_eq!(skew(at(date), at(10), at(12)), TimeDelta::seconds(expected), "{date}");
        };
        check(9, 0);
        check(12, 0);
        check(20, 8);
        check(0, 9);
    }
}
