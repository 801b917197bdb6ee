//! What an operator may type wrongly, and what is said then: always the same words for the same mistake, and exit code 2.

use std::collections::BTreeMap;

use crate::operator::ops_with;

const MEANT: &str = "there is no queue calender-sync; did you mean calendar-sync?";
const NO_QUEUE: &str = "there is no queue mail; there are token-refresh, ";
const NO_TIME: &str = "yesterday is no time: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d";
/// What is typed, and what is said.
const MISTAKES: &[(&str, &str)] = &[
    // A queue with a typing error.
    ("pause calender-sync", MEANT),
    ("pause calender-sync --dry-run", MEANT),
    ("resume token-refresh calender-sync", MEANT),
    ("errors --queue calender-sync", MEANT),
    ("dead-letters list --queue calender-sync", MEANT),
    ("dead-letters replay --queue calender-sync", MEANT),
    ("dead-letters replay --queue calender-sync --dry-run", MEANT),
    ("dead-letters discard --queue calender-sync --yes", MEANT),
    ("explain some-key --queue calender-sync", MEANT),
    ("release some-key --queue calender-sync", MEANT),
    ("takeover calender-sync", MEANT),
    ("giveback calender-sync", MEANT),
    ("pause calender-sync-queue", "there is no queue calender-sync-queue; did you mean calendar-sync?"),
    ("pause Calender_Sync", "there is no queue Calender_Sync; did you mean calendar-sync?"),
    ("rollback calender-sync", "there is no function calender-sync; did you mean calendar-sync?"),
    ("rollback webhook", "there is no function webhook; did you mean webhooks?"),
    ("tasks calender-sync", MEANT),
    ("run 17 --queue calender-sync", MEANT),
    ("delete calender-sync:17", MEANT),
    ("enqueue calender-sync --user 00000000-0000-4000-8000-000000000001", MEANT),
    ("sweeps --queue calender-sync", MEANT),
    // A schedule.
    (
        "schedule run token-refesh-sweep",
        "there is no schedule token-refesh-sweep; did you mean token-refresh-sweep?",
    ),
    ("schedule pause calendar-sync", "calendar-sync has no schedule; there are token-refresh-sweep, "),
    ("schedule resume adaptive-sync", "adaptive-sync has several schedules: adaptive-sync-contacts, "),
    ("schedule run", "the following required arguments were not provided:\n  <SCHEDULE>"),
    // One that is none.
    ("pause mail", NO_QUEUE),
    ("dead-letters list --queue mail", NO_QUEUE),
    ("errors --queue mail", NO_QUEUE),
    ("pause webhooks", "there is no queue webhooks; "),
    // A time.
    ("errors --since yesterday", NO_TIME),
    ("errors --until yesterday", NO_TIME),
    ("dead-letters list --since yesterday", NO_TIME),
    ("dead-letters replay --until yesterday", NO_TIME),
    ("dead-letters list --since 2", "2 is no time: "),
    ("dead-letters list --since=-2h", "-2h is no time: "),
    ("tasks calendar-sync --since yesterday", NO_TIME),
    (
        "enqueue calendar-sync --user 00000000-0000-4000-8000-000000000001 --in tomorrow",
        "tomorrow is no length of time, such as 45m, 2h or 3d",
    ),
    (
        "enqueue calendar-sync --user 00000000-0000-4000-8000-000000000001 --in 31d",
        "Cloud Tasks takes no task of more than 30 days ahead",
    ),
    // A task.
    ("run 17", "the name 17 does not say its queue; pass --queue QUEUE"),
    ("delete 17%00 --queue calendar-sync", "17%00 is no name of a task"),
    (
        "enqueue adaptive-sync --user 00000000-0000-4000-8000-000000000001",
        "adaptive-sync has no task about one user: all its tasks are sweeps; see scripts/ops schedule run",
    ),
    // A user, a number.
    ("user ada", "invalid value 'ada' for '<USER>'"),
    ("cache drop ada", "invalid value 'ada' for '<USER>'"),
    ("errors --user ada", "invalid value 'ada' for '--user <USER>'"),
    ("dead-letters list --user ada", "invalid value 'ada' for '--user <USER>'"),
    ("errors --limit many", "invalid value 'many' for '--limit <N>'"),
    ("dead-letters replay --all --limit 0", "0 is not in 1..=10000"),
    ("dead-letters replay --all --rate 0", "0 is not in 1..=500"),
    ("dead-letters resume some-id", "invalid value 'some-id' for '<ID>'"),
    ("actions --limit -1", "unexpected argument '-1'"),
    ("tasks calendar-sync --user ada", "invalid value 'ada' for '--user <USER>'"),
    ("enqueue calendar-sync --user ada", "invalid value 'ada' for '--user <USER>'"),
    // A message.
    ("messages list --state unknwon", "a similar value exists: 'unknown'"),
    ("messages list --channel fax", "[possible values: sms, email, in_app]"),
    ("messages list --since yesterday", NO_TIME),
    ("messages show ada", "invalid value 'ada' for '<MESSAGE>'"),
    ("messages settle 00000000-0000-4000-8000-000000000001 --as lost", "[possible values: sent, not-sent]"),
    (
        "messages settle 00000000-0000-4000-8000-000000000001 --as sent --provider twilio",
        "the following required arguments were not provided:\n  --provider-id <ID>",
    ),
    (
        "messages settle 00000000-0000-4000-8000-000000000001",
        "the following required arguments were not provided:\n  --as <STATUS>",
    ),
    // Too little, or too much.
    ("tasks", "the following required arguments were not provided:\n  <QUEUE>"),
    ("run", "the following required arguments were not provided:\n  <TASK>"),
    ("enqueue calendar-sync", "the following required arguments were not provided:\n  --user <USER>"),
    ("pause", "the following required arguments were not provided:\n  <QUEUE>..."),
    ("dead-letters replay", "the following required arguments were not provided:\n  <ID>..."),
    ("dead-letters discard", "the following required arguments were not provided:\n  <ID>..."),
    ("dead-letters replay some-id --queue calendar-sync", "cannot be used with"),
    ("dead-letters discard --all --queue calendar-sync", "cannot be used with"),
    ("pause --all calendar-sync", "cannot be used with"),
    ("dead-letters show", "the following required arguments were not provided:\n  <ID>"),
    ("explain", "the following required arguments were not provided:\n  <KEY>"),
    ("user", "the following required arguments were not provided:\n  <USER>"),
    ("user forget", "the following required arguments were not provided:\n  <USER>"),
    ("user forget ada", "invalid value 'ada' for '<USER>'"),
    // Where it is asked for.
    ("top", "top draws on a terminal, and this is none; scripts/ops queues --json shows the same once"),
    ("top --every 0", "0 is not in 1..=3600"),
    ("completions bsh", "a similar value exists: 'bash'"),
    ("man dead-leters", "there is no command dead-leters; did you mean dead-letters?"),
    ("man dead-letters rplay", "there is no command rplay; did you mean replay?"),
    // A command, an option.
    ("doctor redis", "unexpected argument 'redis'"),
    ("usage --queue calendar-sync", "unexpected argument '--queue'"),
    ("queue", "some similar subcommands exist: 'enqueue', 'queues'"),
    ("deadletters", "some similar subcommands exist: 'delete', 'dead-letters'"),
    ("dead-letters lst", "a similar subcommand exists: 'list'"),
    ("errors --queu calendar-sync", "a similar argument exists: '--queue'"),
    ("queues calendar-sync", "unexpected argument 'calendar-sync'"),
];

#[test]
fn each_mistake_has_one_answer() {
    let environment = BTreeMap::from([
        ("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none".to_owned()),
        ("GCP_PROJECT_ID", "p".to_owned()),
        ("GCP_REGION", "r".to_owned()),
        ("CLOUD_TASKS_URL", "http://127.0.0.1:1".to_owned()),
    ]);
    for (arguments, expected) in MISTAKES {
        let words: Vec<&str> = arguments.split(' ').collect();
        let said = ops_with(&environment, &words);
        assert_eq!(said.code, 2, "{arguments}: {said:?}");
        assert!(said.err.contains(expected), "{arguments}: {}", said.err);
        assert_eq!(said.out, "", "{arguments}");
    }
}
