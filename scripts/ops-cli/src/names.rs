//! Names that an operator types: of a queue in Cloud Tasks, of its function, with a typing error.

use catchup::queues;
use shared::queue::{Queue, Schedule};

use crate::operations::schedules::cloud_name;
use crate::usage_error::UsageError;

/// How alike two names must be for one to be meant by the other.
const ALIKE: f64 = 0.6;
/// The service without a queue.
pub(crate) const WEBHOOKS: &str = "webhooks";
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

/// The schedule of that name in Cloud Scheduler, or of the queue of that name if it has only one.
pub(crate) fn schedule(name: &str) -> Result<(Queue, &'static Schedule), UsageError> {
    let all: Vec<(String, Queue, &Schedule)> = queues::all()
        .flat_map(|queue| queue.policy().schedules.iter().map(move |it| (cloud_name(queue, it), queue, it)))
        .collect();
    let bare = bare(name);
    if let Some((_, queue, schedule)) = all.iter().find(|(known, ..)| *known == bare) {
        return Ok((*queue, schedule));
    }
    let known = || -> Vec<&str> { all.iter().map(|(known, ..)| known.as_str()).collect() };
    let Ok(queue) = queue(&bare) else { return Err(unknown("schedule", name, &known())) };
    match &queue.policy().schedules[..] {
        [schedule] => Ok((queue, schedule)),
        [] => Err(UsageError(format!("{} has no schedule; there are {}", queue.name(), known().join(", ")))),
        several => {
            let names: Vec<_> = several.iter().map(|it| cloud_name(queue, it)).collect();
            Err(UsageError(format!("{} has several schedules: {}", queue.name(), names.join(", "))))
        }
    }
}

/// The queue of a task, and its name there: of its resource name, of its key `QUEUE:NAME`, or of a name that ends with its queue's,
/// as those do that the functions make.
pub(crate) fn task(name: &str, of: Option<&str>) -> Result<(Queue, String), UsageError> {
    let (before, last) = name.trim().rsplit_once(['/', ':']).unwrap_or(("", name.trim()));
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if last.is_empty() || !last.chars().all(is_name) {
        return Err(UsageError(format!("{name} is no name of a task")));
    }
    let said = match (of, before.strip_suffix("/tasks").unwrap_or(before)) {
        (Some(of), _) => Some(queue(of)?),
        (None, "") => queues::all()
            .filter(|queue| last.ends_with(&format!("-{}", queue.name())))
            .max_by_key(|queue| queue.name().len()),
        (None, before) => Some(queue(before)?),
    };
    let unsaid = || UsageError(format!("the name {name} does not say its queue; pass --queue QUEUE"));
    Ok((said.ok_or_else(unsaid)?, last.to_owned()))
}

/// What is said of a name that is none of the known ones.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str]) -> UsageError {
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
    fn a_schedule_is_found_by_its_name_or_that_of_its_queue() {
        for name in ["token-refresh-sweep", "token-refresh", "token-refresh-queue", "Token_Refresh_Sweep"] {
            let (queue, schedule) = schedule(name).unwrap();
            assert_eq!((queue, schedule.name.as_str()), (queues::TOKEN_REFRESH, "sweep"), "{name}");
        }
        let check = |name: &str, expected: &str| {
            let said = schedule(name).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{said}");
        };
        check(
            "adaptive-sync",
            "adaptive-sync has several schedules: adaptive-sync-contacts, adaptive-sync-calendar",
        );
        check("calendar-sync", "calendar-sync has no schedule; there are token-refresh-sweep, ");
        check(
            "token-refesh-sweep",
            "there is no schedule token-refesh-sweep; did you mean token-refresh-sweep?",
        );
    }

    #[test]
    fn a_task_is_found_by_each_of_its_names() {
        for name in [
            "0a1b-calendar-sync",
            "calendar-sync:0a1b-calendar-sync",
            "projects/p/locations/r/queues/calendar-sync-queue/tasks/0a1b-calendar-sync",
        ] {
            assert_eq!(
                task(name, None).unwrap(),
                (queues::CALENDAR_SYNC, "0a1b-calendar-sync".to_owned()),
                "{name}"
            );
        }
        assert_eq!(task("17", Some("calendar-sync")).unwrap(), (queues::CALENDAR_SYNC, "17".to_owned()));
        assert_eq!(task("calendar-sync:17", None).unwrap(), (queues::CALENDAR_SYNC, "17".to_owned()));
        let said = task("17", None).unwrap_err().to_string();
        assert_eq!(said, "the name 17 does not say its queue; pass --queue QUEUE");
        let said = task("a b", None).unwrap_err().to_string();
        assert_eq!(said, "a b is no name of a task");
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
