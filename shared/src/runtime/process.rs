//! The path of a task, from its request to its response. It reads like the list in `infra/docs/architecture.md`, "One
//! task", which also has the reason of each rule.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;

use super::Runtime;
use super::disposition::{Disposition, RescheduleReason};
use super::report::Facts;
use super::steps::{Parsed, RunResult, without_redis};
use super::task::{Headers, read_body};
use crate::db::failures::TaskState;
use crate::idempotency::Found;
use crate::queue::JOBS_PATH;

impl Runtime {
    /// Processes one dispatch. An early end is an `Err`, and is answered like any other.
    #[expect(clippy::too_many_lines, reason = "the path of a task is read from top to bottom, in one place")]
    pub(super) async fn process(
        &self,
        request: Request<Body>,
        facts: &mut Facts,
    ) -> Result<Disposition, Disposition> {
        // 1. Verify: who is the caller?
        let authorization =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.verifier.verify(authorization).await?;

        // 2. Parse, once.
        let headers = Headers::from(request.headers());
        facts.arrived(&headers);
        let path = request.uri().path().strip_prefix(JOBS_PATH).map(str::to_owned);
        let body = read_body(request).await?;
        let suspicion = self.suspect_body(&headers, &body).await?;
        let Parsed { task, job } = match self.parse(path.as_deref(), headers, body) {
            Ok(parsed) => parsed,
            Err(unreadable) => return self.unreadable(*unreadable).await,
        };
        facts.parsed(&task);
        self.clear_body(&task, suspicion).await?;

        if task.is_old() {
            return self.reschedule(&task, RescheduleReason::Renewed, self.clock.now()).await;
        }

        // 3. Lease. What failed a moment ago and still does would only cost commands.
        if let Some(dependency) = self.outages.current(&self.database, &self.tasks, self.queue).await {
            return Err(dependency.into());
        }
        let mut place = self.enter(&task, task.envelope.alone).await?;
        let mut lease = self.leases.prepare(task.name(), place.is_alone());
        let mut killed = None;
        match self.leases.acquire(&mut lease, task.name()).await {
            Ok(Found::Free) => {}
            Ok(Found::Expired(expired)) => {
                if !expired.is_settled && !place.is_alone() {
                    drop(place);
                    place = self.enter(&task, true).await?;
                    lease = self.leases.prepare(task.name(), true);
                }
                match self.leases.take(&mut lease, &expired).await {
                    Ok(true) => killed = Some(expired).filter(|expired| !expired.is_settled),
                    Ok(false) => {
                        return self
                            .reschedule(&task, RescheduleReason::Leased, self.after_lease(None))
                            .await;
                    }
                    Err(error) => without_redis(&error),
                }
            }
            Ok(Found::Held { until }) => {
                return self.reschedule(&task, RescheduleReason::Leased, self.after_lease(Some(until))).await;
            }
            Ok(Found::Unknown) => {
                return self.reschedule(&task, RescheduleReason::Leased, self.after_lease(None)).await;
            }
            Ok(Found::Done(result)) => return Ok(Disposition::Duplicate(result)),
            Ok(Found::Dead) => return Ok(Disposition::Duplicate(None)),
            Ok(Found::OtherPayload) => return self.other_payload(&task).await,
            Err(error) => without_redis(&error),
        }

        // 4. Read the state that is recorded; on the usual path there is none.
        let state = if task.is_new() && lease.is_held() && killed.is_none() {
            TaskState::Go { failures: 0, alone: false }
        } else {
            self.task_state(&task, &mut lease, killed.as_ref()).await?
        };
        let failures = match state {
            TaskState::Go { alone: true, .. } if !place.is_alone() => {
                return self
                    .reschedule_and_release(&task, &lease, RescheduleReason::Crowded, self.clock.now())
                    .await;
            }
            TaskState::Go { failures, .. } => failures,
            TaskState::Wait(until) => {
                return self.reschedule_and_release(&task, &lease, RescheduleReason::Unproven, until).await;
            }
            TaskState::Done => return Ok(self.found_done(&lease).await),
            TaskState::Dead => return Ok(self.found_dead(&task).await),
        };
        facts.attempt(failures + 1);

        // 5. Run, while the lease is kept.
        let ended = tokio::select! {
            ended = self.run(job, &task, failures) => ended,
            lost = self.leases.keep(&mut lease) => RunResult::Lost(lost),
        };

        // 6. Settle, and 7. respond: a failure is recorded, its successor created, its lease released, in this order.
        match ended {
            RunResult::Done(result) => {
                self.settle_done(&task, &lease, &result).await;
                Ok(Disposition::Done(result))
            }
            RunResult::Skipped(reason) => {
                self.settle_done(&task, &lease, &serde_json::json!({ "skipped": reason })).await;
                Ok(Disposition::Skipped(reason))
            }
            RunResult::Snoozed { reason, until } => {
                self.reschedule_and_release(&task, &lease, reason, until).await
            }
            RunResult::Unavailable { dependency, retry_after } => {
                self.outages.remember(dependency);
                self.release(&task, &lease).await;
                Err(Disposition::Unavailable { what: dependency, retry_after })
            }
            RunResult::Lost(lost) => self.lease_lost(&task, &lease, lost).await,
            RunResult::Failed(cause) => {
                let again_at = match self.record_failure(&task, &lease, &cause).await? {
                    TaskState::Dead => return Ok(self.settle_dead(&task, &cause).await),
                    TaskState::Done => {
                        self.release_failed(&lease).await;
                        return Ok(Disposition::Duplicate(None));
                    }
                    TaskState::Go { failures, .. } => self.after_failure(failures),
                    TaskState::Wait(until) => self.after_failure(failures + 1).max(until),
                };
                let rescheduled = self
                    .reschedule_after(&task, &lease, RescheduleReason::Failed(cause.reason), again_at)
                    .await;
                self.release_failed(&lease).await;
                rescheduled
            }
        }
    }
}
