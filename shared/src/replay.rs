//! Replay of a dead letter: its task begins a new life, with all its attempts.
//!
//! The state of the dead letter is `replaying` before the new task is created, and `sent` after; the task's name is
//! made of the key and the life alone. So a replay may be cut off anywhere and repeated by anyone, and makes one task.

use chrono::{DateTime, Utc};

use crate::db;
use crate::db::dead_letters::{DeadLetters, StoredDeadLetter};
use crate::envelope::Envelope;
use crate::queue::Queue;
use crate::tasks::task_name;

/// Replays a dead letter; returns `false` for one that was sent already, which takes `again`. `create` creates the task
/// of that name and body, and takes it for created when the name exists.
pub async fn replay<E: From<db::Error>>(
    dead_letters: &DeadLetters,
    queue: Queue,
    dead_letter: &StoredDeadLetter,
    again: bool,
    now: DateTime<Utc>,
    create: impl AsyncFnOnce(String, Vec<u8>) -> Result<(), E>,
) -> Result<bool, E> {
    if !dead_letters.replay_begun(dead_letter, again, now).await? {
        return Ok(false);
    }
    let (name, body) = task(queue, dead_letter);
    create(name, body).await?;
    dead_letters.replay_sent(dead_letter, now).await?;
    Ok(true)
}

/// Name and body of the task that a replay creates. A body that is no envelope goes as it came.
#[must_use]
pub fn task(queue: Queue, dead_letter: &StoredDeadLetter) -> (String, Vec<u8>) {
    (task_name(queue, &format!("{}#life-{}", dead_letter.key, dead_letter.deaths)), body(dead_letter))
}

fn body(dead_letter: &StoredDeadLetter) -> Vec<u8> {
    let again = serde_json::from_slice::<Envelope>(&dead_letter.body).and_then(|envelope| {
        serde_json::to_vec(&Envelope {
            idempotency_key: Some(dead_letter.key.clone()),
            life: dead_letter.deaths.unsigned_abs(),
            n: 0,
            root: None,
            after: None,
            alone: false,
            unreadable_since: None,
            ..envelope
        })
    });
    again.unwrap_or_else(|_no_envelope| dead_letter.body.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::successor_name;
    use crate::testing::THUMBNAILS;

    fn dead_letter(body: &str) -> StoredDeadLetter {
        StoredDeadLetter {
            id: "id".into(),
            function: "thumbnails".into(),
            key: "k".into(),
            task_name: None,
            state: "open".into(),
            deaths: 2,
            failures: 3,
            reason: "transient".into(),
            error: String::new(),
            fingerprint: String::new(),
            user_id: None,
            body: body.into(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_replayed_task_begins_a_new_life_with_every_byte_of_its_payload() {
        #[track_caller]
        fn check(before: &str, expected: &str) {
            assert_eq!(String::from_utf8(body(&dead_letter(before))).unwrap(), expected);
        }
        check(
            r#"{"data":{ "userId" : "u" },"idempotencyKey":"k","n":4,"root":"r","life":1,"alone":true}"#,
            r#"{"data":{ "userId" : "u" },"idempotencyKey":"k","v":1,"life":2}"#,
        );
        check("no envelope", "no envelope");
    }

    #[test]
    fn each_life_has_one_name() {
        let (second, third) = (dead_letter("{}"), StoredDeadLetter { deaths: 3, ..dead_letter("{}") });
        let name = |dead_letter: &StoredDeadLetter| task(THUMBNAILS, dead_letter).0;
        assert_eq!(name(&second), name(&dead_letter("other")));
        assert_ne!(name(&second), name(&third));
    }

    /// The name of a task may be its key, and Cloud Tasks refuses the names of its successors for a while.
    #[test]
    fn a_replay_has_no_name_that_a_successor_had() {
        let name = task(THUMBNAILS, &dead_letter("{}")).0;
        for n in 0..10 {
            assert_ne!(name, successor_name(THUMBNAILS, "k", n));
        }
    }
}
