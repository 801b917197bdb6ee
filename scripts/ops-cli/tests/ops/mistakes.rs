//! What an operator may type wrongly, and what is said then: always the same words for the same mistake, and exit code 2.

use std::collections::BTreeMap;

use crate::operator::ops_with;

#[test]
fn each_mistake_has_one_answer() {
    let environment = BTreeMap::from([
        ("DATABASE_URL", "postgres://unknown@127.0.0.1:1/none".to_owned()),
        ("GCP_PROJECT_ID", "p".to_owned()),
        ("GCP_REGION", "r".to_owned()),
        ("CLOUD_TASKS_URL", "http://127.0.0.1:1".to_owned()),
    ]);
    let meant = "there is no queue calender-sync; did you mean calendar-sync?";
    let no_queue = "there is no queue mail; there are token-refresh, ";
    let no_time = "yesterday is no time: 2026-11-27T03:00:00Z, or how long ago, such as 45m, 2h or 3d";
    for (arguments, expected) in [
        // A queue with a typing error.
        ("pause calender-sync", meant),
        ("pause calender-sync --dry-run", meant),
        ("resume token-refresh calender-sync", meant),
        ("errors --queue calender-sync", meant),
        ("dead-letters list --queue calender-sync", meant),
        ("dead-letters replay --queue calender-sync", meant),
        ("dead-letters replay --queue calender-sync --dry-run", meant),
        ("dead-letters discard --queue calender-sync --yes", meant),
        ("explain some-key --queue calender-sync", meant),
        ("release some-key --queue calender-sync", meant),
        ("takeover calender-sync", meant),
        ("giveback calender-sync", meant),
        ("pause calender-sync-queue", "there is no queue calender-sync-queue; did you mean calendar-sync?"),
        ("pause Calender_Sync", "there is no queue Calender_Sync; did you mean calendar-sync?"),
        ("rollback calender-sync", "there is no function calender-sync; did you mean calendar-sync?"),
        ("rollback webhook", "there is no function webhook; did you mean webhooks?"),
        // One that is none.
        ("pause mail", no_queue),
        ("dead-letters list --queue mail", no_queue),
        ("errors --queue mail", no_queue),
        ("pause webhooks", "there is no queue webhooks; "),
        // A time.
        ("errors --since yesterday", no_time),
        ("errors --until yesterday", no_time),
        ("dead-letters list --since yesterday", no_time),
        ("dead-letters replay --until yesterday", no_time),
        ("dead-letters list --since 2", "2 is no time: "),
        ("dead-letters list --since=-2h", "-2h is no time: "),
        // A user, a number.
        ("user ada", "invalid value 'ada' for '<USER>'"),
        ("errors --user ada", "invalid value 'ada' for '--user <USER>'"),
        ("dead-letters list --user ada", "invalid value 'ada' for '--user <USER>'"),
        ("errors --limit many", "invalid value 'many' for '--limit <N>'"),
        ("dead-letters replay --all --limit 0", "0 is not in 1..=10000"),
        ("actions --limit -1", "unexpected argument '-1'"),
        ("dead-letters replay --all --rate 0", "0 is not in 1..=500"),
        ("dead-letters resume some-id", "invalid value 'some-id' for '<ID>'"),
        // Too little, or too much.
        ("pause", "the following required arguments were not provided:\n  <QUEUE>..."),
        ("dead-letters replay", "the following required arguments were not provided:\n  <ID>..."),
        ("dead-letters discard", "the following required arguments were not provided:\n  <ID>..."),
        ("dead-letters replay some-id --queue calendar-sync", "cannot be used with"),
        ("dead-letters discard --all --queue calendar-sync", "cannot be used with"),
        ("pause --all calendar-sync", "cannot be used with"),
        ("dead-letters show", "the following required arguments were not provided:\n  <ID>"),
        ("explain", "the following required arguments were not provided:\n  <KEY>"),
        ("user", "the following required arguments were not provided:\n  <USER>"),
        // A command, an option.
        ("queue", "a similar subcommand exists: 'queues'"),
        ("deadletters", "similar subcommands exist: 'deliveries', 'dead-letters'"),
        ("dead-letters lst", "a similar subcommand exists: 'list'"),
        ("errors --queu calendar-sync", "a similar argument exists: '--queue'"),
        ("queues calendar-sync", "unexpected argument 'calendar-sync'"),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let said = ops_with(&environment, &words);
        assert_eq!(said.code, 2, "{arguments}: {said:?}");
        assert!(said.err.contains(expected), "{arguments}: {}", said.err);
        assert_eq!(said.out, "", "{arguments}");
    }
}
