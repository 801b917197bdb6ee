//! Names that an operator types: of a queue in Cloud Tasks, of its function, with a typing error.

use catchup::queues;
use shared::queue::Queue;

use crate::usage_error::UsageError;

/// How alike two names must be for one to be meant by the other.
const ALIKE: f64 = 0.6;
/// The service without a queue.
const WEBHOOKS: &str = "webhooks";
/// What the names of queues in Cloud Tasks end with.
const SUFFIX: &str = "-queue";

/// The queue of that name: its function's, its own in Cloud Tasks, or its whole resource name.
pub(crate) fn queue(name: &str) -> Result<Queue, UsageError> {
    let known: Vec<&str> = queues::all().map(Queue::name).collect();
    let bare = bare(name);
    let found = queues::all().find(|queue| queue.name() == bare);
    found.ok_or_else(|| unknown("queue", name, &known))
}

/// The function of that name: the same names, and the service without a queue.
pub(crate) fn function(name: &str) -> Result<String, UsageError> {
    let known: Vec<&str> = queues::all().map(Queue::name).chain([WEBHOOKS]).collect();
    let bare = bare(name);
    if known.contains(&bare.as_str()) { Ok(bare) } else { Err(unknown("function", name, &known)) }
}

/// What is said of a name that is none of the known ones.
fn unknown(kind: &str, name: &str, known: &[&str]) -> UsageError {
    let bare = bare(name);
    let alike = known.iter().map(|known| (strsim::normalized_damerau_levenshtein(&bare, known), *known));
    let nearest = alike.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(alike, _)| *alike >= ALIKE);
    UsageError(match nearest {
        Some((_, nearest)) => format!("there is no {kind} {name}; did you mean {nearest}?"),
        None => format!("there is no {kind} {name}; there are {}", known.join(", ")),
    })
}

fn bare(name: &str) -> String {
    let last = name.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let last = last.to_ascii_lowercase().replace('_', "-");
    last.strip_suffix(SUFFIX).unwrap_or(&last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_found_by_each_of_its_names() {
        for name in [
            "calendar-sync",
            "calendar-sync-queue",
            "calendar_sync",
            " Calendar-Sync ",
            "projects/p/locations/r/queues/calendar-sync-queue",
        ] {
            assert_eq!(queue(name).unwrap(), queues::CALENDAR_SYNC, "{name}");
        }
    }

    #[test]
    fn a_typing_error_is_answered_with_the_name_that_is_meant() {
        #[track_caller]
        fn check(name: &str, meant: &str) {
            let said = queue(name).unwrap_err().to_string();
            assert_eq!(said, format!("there is no queue {name}; did you mean {meant}?"));
        }
        check("calender-sync", "calendar-sync");
        check("calendar-snyc-queue", "calendar-sync");
        check("token-refesh", "token-refresh");
        check("google-contact-sync", "google-contacts-sync");
        let said = queue("mail").unwrap_err().to_string();
        assert!(
            said.starts_with("there is no queue mail; there are ") && said.contains("token-refresh"),
            "{said}"
        );
    }
}
