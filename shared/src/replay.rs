//! Replay of dead letters: the task of each begins a new life, with all its attempts.
//!
//! The state of a dead letter is `replaying` before the new task is created, and `sent` after; the task's name is
//! made of the key and the life alone. So a replay may be cut off anywhere and repeated by anyone, and makes one task.

use std::iter::zip;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::db;
use crate::db::bulks::{Begun, Bulks, Replayed};
use crate::envelope::Envelope;
use crate::queue::Queue;
use crate::tasks::task_name;

/// Replays the next dead letters of a bulk at the same time, at most `limit`. `create` creates the task of one ([`task`]), and
/// takes it for created when the name exists. What it says instead is the outcome of that dead letter; its error ends the replay
/// of the others, too, and leaves that dead letter to be continued.
pub async fn replay<E: From<db::Error>, F: Future<Output = Result<Result<(), String>, E>>>(
    bulks: &Bulks,
    bulk: Uuid,
    limit: u32,
    now: DateTime<Utc>,
    create: impl Fn(Begun) -> F,
) -> Result<(), E> {
    let begun = bulks.begin_replays(bulk, limit, now).await?;
    let numbers: Vec<_> = begun.iter().map(|it| it.number).collect();
    let (mut replayed, mut ended) = (Vec::new(), Ok(()));
    for (number, created) in zip(numbers, join_all(begun.into_iter().map(create)).await) {
        match created {
            Ok(created) => replayed.push(Replayed { number, error: created.err() }),
            Err(error) => ended = Err(error),
        }
    }
    bulks.end_replays(bulk, &replayed, now).await?;
    ended
}

/// Name and body of the task that a replay creates. A body that is no envelope goes as it came.
#[must_use]
pub fn task(queue: Queue, dead_letter: &Begun) -> (String, Vec<u8>) {
    (task_name(queue, &format!("{}#life-{}", dead_letter.key, dead_letter.deaths)), body(dead_letter))
}

fn body(dead_letter: &Begun) -> Vec<u8> {
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

    fn dead_letter(body: &str) -> Begun {
        Begun { number: 1, function: "thumbnails".into(), key: "k".into(), deaths: 2, body: body.into() }
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
        let (second, third) = (dead_letter("{}"), Begun { deaths: 3, ..dead_letter("{}") });
        let name = |dead_letter: &Begun| task(THUMBNAILS, dead_letter).0;
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
