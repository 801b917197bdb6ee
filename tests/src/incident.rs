//! What months of failures and an incident leave behind: the views of the console are measured and read with it.

use catchup::queues;
use shared::queue::Queue;

/// One failed run in so many is of the last hour; the others are spread over sixty days.
const OF_LAST_HOUR: u32 = 5;
/// Runs of one task.
const RUNS: u32 = 3;
/// Different errors.
const CAUSES: u32 = 60;
/// Users who are concerned.
const USERS: u32 = 20_000;
/// Names a bulk of all dead letters.
const BULK: &str = "00000000-0000-4000-8000-00000000b01c";

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub struct Incident {
    /// Failed runs.
    pub failures: u32,
    /// Dead letters that were not replayed, all of one bulk.
    pub dead_letters: u32,
    /// Rows of the ledger, two per message.
    pub deliveries: u32,
    /// Characters of an error's text: each of them is written as five in a page.
    pub error_chars: u32,
}

impl Incident {
    /// Statements that write it.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let Self { failures, dead_letters, deliveries, error_chars } = self;
        let names: Vec<_> = queues::all().map(|queue| format!("'{}'", queue.name())).collect();
        let function = format!("(ARRAY[{}])[1 + task % {}]", names.join(","), names.len());
        let user = |number: &str| {
            format!("('00000000-0000-4000-8000-' || lpad(to_hex({number} % {USERS}), 12, '0'))::uuid")
        };
        let error = format!("repeat('<', {error_chars}) || ' cause ' || task % {CAUSES}");
        vec![
            format!(
                "INSERT INTO jobs.failures (function, key, life, run, kind, reason, error, fingerprint, revision, instance,
                    alone, user_id, began_at, at)
                 SELECT function, 'task:' || task, 0, md5(n::text)::uuid,
                    CASE n % 10 WHEN 0 THEN 'permanent' WHEN 1 THEN 'killed' ELSE 'failed' END,
                    'reason-' || task % {CAUSES} % 8, {error}, md5((task % {CAUSES})::text),
                    function || '-' || lpad((n % 7)::text, 5, '0'), 'instance-' || n % 50, false, {user_of_task},
                    at - interval '2 seconds', at
                 FROM (SELECT n, task, {function} AS function, now() - n * CASE WHEN n % {OF_LAST_HOUR} = 0
                        THEN interval '1 hour' ELSE interval '60 days' END / {failures} AS at
                       FROM (SELECT n, n / {RUNS} AS task FROM generate_series(1, {failures}) n) numbered) runs",
                user_of_task = user("task")
            ),
            format!(
                "INSERT INTO jobs.dead_letters (id, function, key, state, deaths, reason, error, fingerprint, body, user_id,
                    created_at, updated_at)
                 SELECT lpad(to_hex(task), 64, '0'), {function}, 'task:' || task, 'open', 1, 'reason-' || task % {CAUSES} % 8,
                    {error}, md5((task % {CAUSES})::text), convert_to(CASE WHEN task = 7 THEN repeat('<', 20000) ELSE 'x' END, 'UTF8'), {user_of_task}, at, at
                 FROM (SELECT task, now() - task * interval '60 days' / {dead_letters} AS at
                       FROM generate_series(1, {dead_letters}) task) letters",
                user_of_task = user("task")
            ),
            format!(
                "INSERT INTO jobs.notification_deliveries (user_id, channel, subject, state, claimed_at, settled_at, provider,
                    provider_id, message_id, failure, refusal)
                 SELECT {user_of_message}, CASE WHEN message % 3 = 0 THEN 'email' ELSE 'sms' END,
                    'suggestion:' || md5(n::text)::uuid, state, at, CASE WHEN state <> 'unknown' THEN at END, 'twilio',
                    'SM' || message, md5(message::text)::uuid, CASE WHEN state IN ('failed', 'bounced') THEN '30003' END,
                    CASE WHEN state = 'refused' THEN '21211' END
                 FROM (SELECT n, message, now() - n * interval '300 days' / {deliveries} AS at,
                        CASE WHEN message % 2000 = 0 THEN 'unknown' WHEN message % 2000 = 1 THEN 'complained'
                             WHEN message % 50 = 2 THEN 'bounced' WHEN message % 50 = 3 THEN 'failed'
                             WHEN message % 50 = 4 THEN 'refused' WHEN message % 3 = 1 THEN 'sent' ELSE 'delivered' END AS state
                       FROM (SELECT n, n / 2 AS message FROM generate_series(1, {deliveries}) n) numbered) ledger",
                user_of_message = user("message")
            ),
            format!(
                "INSERT INTO jobs.operator_actions (id, at, who, via, action, filter, count, why, rate, again)
                 VALUES ('{BULK}', now(), 'operator', 'console', 'replay', '{{}}', {dead_letters}, 'repaired', 10, false);
                 INSERT INTO jobs.bulk_members (bulk, number, dead_letter, deaths, outcome, error, at)
                 SELECT '{BULK}', n, lpad(to_hex(n), 64, '0'), 1, CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'waiting' END,
                    CASE WHEN n % 3 = 0 THEN repeat('<', {error_chars}) END, now()
                 FROM generate_series(1, {dead_letters}) n;
                 INSERT INTO jobs.operator_actions (id, at, who, via, action, function, filter, count, why, ended_at, changed)
                 SELECT gen_random_uuid(), now() - n * interval '1 hour', 'operator', 'command line',
                    CASE WHEN n % 2 = 0 THEN 'pause' ELSE 'resume' END, 'calendar-sync', '{{}}', 1,
                    repeat('<', {error_chars}), now(), 1
                 FROM generate_series(1, 5000) n"
            ),
            "ANALYZE".to_owned(),
        ]
    }

    /// Addresses of all views of the console that show something of it.
    #[must_use]
    pub fn views(&self) -> Vec<String> {
        let queue = queues::all().next().map(Queue::name).unwrap_or_default();
        let (user, dead_letter) = ("00000000-0000-4000-8000-000000000007", format!("{:064x}", 7));
        // That of cause 0.
        let fingerprint = "cfcd208495d565ef66e7dff9f98764da";
        [
            "/",
            "/errors",
            "/errors?since=1h",
            "/errors?since=90d",
            &format!("/errors?queue={queue}"),
            "/errors?reason=reason-1",
            &format!("/errors?user={user}&since=90d"),
            &format!("/errors/change?queue={queue}&fingerprint={fingerprint}"),
            "/dead-letters",
            &format!("/dead-letters?queue={queue}"),
            "/dead-letters?reason=reason-1",
            &format!("/dead-letters?user={user}"),
            &format!("/dead-letters/{dead_letter}"),
            "/dead-letters/change?action=replay",
            &format!("/bulks/{BULK}"),
            &format!("/queues/{queue}"),
            "/tasks",
            &format!("/tasks?queue={queue}"),
            "/task?key=task:7",
            "/deploys",
            "/cost",
            &format!("/users/{user}"),
            "/schedules",
            "/schedules/token-refresh-sweep",
            "/errors?all",
            "/messages",
            "/messages?state=unknown",
            "/messages?state=complained",
            &format!("/messages?user={user}"),
            "/actions",
        ]
        .map(str::to_owned)
        .into()
    }
}
