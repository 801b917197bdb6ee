//! A request becomes a dispatch, or a dead letter: sending an unusable body again cannot help.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Request;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tower::{Layer, layer::layer_fn, service_fn};
use uuid::Uuid;

use super::dead_letters::DeadLetters;
use super::dispatch::{Dispatch, Facts, Record, TaskHeaders};
use super::verdict::Verdict;
use super::{Stage, call};
use crate::clock::Clock;
use crate::envelope::{Envelope, Error};
use crate::queue::Queue;

pub(super) fn layer<S: Stage<Dispatch, Verdict>>(
    queue: Queue,
    letters: DeadLetters,
    clock: Clock,
) -> impl Layer<S, Service: Stage<Request<Bytes>, Verdict>> + Clone {
    layer_fn(move |inner: S| {
        let (letters, clock) = (letters.clone(), clock.clone());
        service_fn(move |request: Request<Bytes>| {
            let (inner, letters, now) = (inner.clone(), letters.clone(), clock.now());
            async move {
                let record = request.extensions().get::<Arc<Record>>().cloned().unwrap_or_default();
                let headers = TaskHeaders::from(request.headers());
                record.learn(Facts {
                    task: headers.name.clone().unwrap_or_default(),
                    attempt: headers.retry_count.saturating_add(1),
                    due: headers.due,
                    ..Facts::default()
                });
                let named =
                    request.uri().path().strip_prefix("/api/jobs/").is_none_or(|name| name == queue.name());
                let envelope = Envelope::parse(queue, request.body());
                let envelope =
                    envelope.and_then(|envelope| if named { Ok(envelope) } else { Err(Error::WrongJob) });
                let body = request.into_body();
                Ok(match envelope {
                    Ok(envelope) => {
                        let dispatch = dispatch(queue, headers, body, envelope, now);
                        record.learn(Facts {
                            task: dispatch.headers.name.clone().unwrap_or_default(),
                            attempt: dispatch.attempt(),
                            due: dispatch.headers.due,
                            user_id: dispatch.user_id,
                            trace: dispatch.envelope.trace.clone().filter(|trace| is_traceparent(trace)),
                        });
                        record.scope(queue).enter(call(inner, dispatch)).await
                    }
                    Err(error) => record.scope(queue).enter(letters.unusable(&headers, &body, &error)).await,
                })
            }
        })
    })
}

fn dispatch(
    queue: Queue,
    headers: TaskHeaders,
    body: Bytes,
    envelope: Envelope,
    now: DateTime<Utc>,
) -> Dispatch {
    let created = envelope.enqueued_at.or(headers.due).unwrap_or(now);
    let key = envelope.key(queue, headers.name.as_deref(), created);
    Dispatch { occasion: occasion(queue, created), user_id: user_id(&envelope), key, headers, body, envelope }
}

/// The start of the schedule's period: two sweeps of one period are the same occasion, as are a sweep and its retry.
fn occasion(queue: Queue, created: DateTime<Utc>) -> DateTime<Utc> {
    match queue.policy().schedules.iter().map(|schedule| schedule.period_seconds).min() {
        None | Some(0) => created,
        Some(period) => {
            let seconds = created.timestamp();
            DateTime::from_timestamp(seconds - seconds.rem_euclid(period.into()), 0).unwrap_or(created)
        }
    }
}

/// W3C Trace Context, section 3.2: `version-traceid-parentid-flags`, in hexadecimal digits.
fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2] && text.chars().all(|digit| digit == '-' || digit.is_ascii_hexdigit())
}

/// The user that a payload of any shape names.
fn user_id(envelope: &Envelope) -> Option<Uuid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct About {
        user_id: Option<Uuid>,
    }
    serde_json::from_str::<About>(envelope.data.get()).ok()?.user_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_and_its_repetition_within_the_period_are_one_occasion() {
        let at = |text: &str| occasion(Queue::AdaptiveSync, text.parse().unwrap());
        assert_eq!(at("2026-01-01T10:00:00Z"), at("2026-01-01T10:59:59Z"));
        assert_ne!(at("2026-01-01T10:00:00Z"), at("2026-01-01T11:00:00Z"));
    }
}
