//! Push notifications from Google Calendar.
//!
//! Google repeats what is answered with 500, 502, 503 or 504, and nothing else:
//! <https://developers.google.com/workspace/calendar/api/guides/push>. So 429 would lose notifications, and so would any
//! success before the sync's task exists.

mod known;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use catchup::db::push_notifications::{Notification, NotificationResult, Notifications, Proof, proof};
use catchup::event::EventCode;
use catchup::webhooks::enqueue_sync;
use known::KnownChannels;
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::db;
use shared::job::Setup;
use shared::runtime::Handled;
use shared::tasks::{Coverage, Tasks};
use shared::telemetry::line::OutcomeCode;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::callbacks::{self, Gate, RETRY_AFTER_BUSY, RETRY_AFTER_OUTAGE, TIMEOUT};
use crate::unknown_callers::{self, Permit};

/// Where Google sends them. The second one is the application's, which the channels that it opened know.
pub const PATHS: [&str; 2] = ["/google-calendar", "/api/webhooks/calendar"];
/// Far more than Google sends, which is no body at all. None is read.
pub const MAX_BODY_BYTES: u64 = 4096;

/// How long the creation of the task may take, so that its failure can still be recorded.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that are worked on at the same time, when Postgres is slow. Cloud Run lets more in (`concurrency` in
/// `infra/gcp/functions.json`): what it has no place for is answered with 429, which Google does not repeat.
pub const MAX_IN_PROGRESS: usize = 500;

/// Accepts notifications.
#[derive(Debug)]
pub(crate) struct Receiver {
    notifications: Notifications,
    tasks: Tasks,
    clock: Clock,
    gate: Gate,
    known: KnownChannels,
    in_progress: Semaphore,
}

impl Receiver {
    pub(crate) fn new(setup: &mut Setup, gate: Gate) -> Result<Self, InvalidConfig> {
        let (notifications, tasks) = (Notifications::new(setup), setup.tasks());
        Ok(Self {
            notifications: notifications?,
            tasks: tasks?,
            clock: setup.clock(),
            gate,
            known: KnownChannels::default(),
            in_progress: Semaphore::new(MAX_IN_PROGRESS),
        })
    }

    pub(crate) async fn receive(self: Arc<Self>, request: Request) -> Handled {
        let address = unknown_callers::address(request.headers());
        if request.body().size_hint().lower() > MAX_BODY_BYTES {
            return self.gate.refuse(address, StatusCode::PAYLOAD_TOO_LARGE, "too_large");
        }
        let Some(push) = Push::read(request.headers()) else {
            return self.refuse_unknown(address);
        };
        let known = self.known.find(push.channel_id, &push.proof);
        if push.calls_for_sync()
            && let Some(user_id) = known.and_then(|known| known.covered_user(self.clock.now()))
        {
            return accepted(OutcomeCode::Duplicate).about(user_id);
        }
        // A channel that was checked before is known, whatever else comes from the address.
        let permit = if known.is_some() { Some(Permit::Unlimited) } else { self.gate.acquire(address) };
        let (Some(_permit), Ok(_place)) = (permit, self.in_progress.try_acquire()) else {
            let turned_away = || Handled::turned_away(RETRY_AFTER_BUSY);
            let busy = known.map_or_else(turned_away, |_| Handled::unavailable(RETRY_AFTER_BUSY));
            return busy.because("busy");
        };
        match timeout(TIMEOUT, self.accept(&push)).await {
            Ok(Ok(Some(handled))) => handled,
            Ok(Ok(None)) => self.refuse_unknown(address),
            Ok(Err(error)) => {
                tracing::error!(
                    event = %EventCode::PushNotAccepted,
                    error = &error as &dyn std::error::Error,
                    "push notification not accepted"
                );
                Handled::unavailable(RETRY_AFTER_OUTAGE).because("postgres")
            }
            Err(_) => Handled::unavailable(RETRY_AFTER_OUTAGE).because("timeout"),
        }
    }

    /// Accepts a notification; `None` for one that does not come through a channel of ours.
    async fn accept(&self, push: &Push<'_>) -> Result<Option<Handled>, db::Error> {
        let now = self.clock.now();
        let result =
            if push.calls_for_sync() { NotificationResult::Success } else { NotificationResult::Ignored };
        let notification = Notification {
            channel_id: push.channel_id,
            proof: &push.proof,
            resource_state: push.state,
            result,
        };
        let channel = self.notifications.receive(&notification, now).await?;
        // In a time that depends neither on how much of it is right nor on whether there is such a channel.
        let expected = channel.as_ref().map_or(&[0; 32][..], |channel| &channel.proof);
        let is_right = bool::from(push.proof.ct_eq(expected));
        let Some(channel) = channel.filter(|_| is_right) else { return Ok(None) };
        let user_id = channel.user_id;
        if !push.calls_for_sync() {
            return Ok(Some(accepted(OutcomeCode::Skipped).because("no_change").about(user_id)));
        }
        let handled = match self.enqueue_sync(user_id).await {
            Ok(coverage) => {
                self.known.remember(push.channel_id, push.proof, user_id, coverage, now);
                accepted(OutcomeCode::Done)
            }
            Err(reason) => {
                if let Some(notification) = channel.notification {
                    self.notifications.mark_failed(notification, &reason).await?;
                }
                Handled::unavailable(RETRY_AFTER_OUTAGE).because("cloud_tasks")
            }
        };
        Ok(Some(handled.about(user_id)))
    }

    async fn enqueue_sync(&self, user_id: Uuid) -> Result<Coverage, String> {
        let reason = match timeout(ENQUEUE_TIMEOUT, enqueue_sync(&self.tasks, user_id)).await {
            Ok(Ok(coverage)) => return Ok(coverage),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "task was not created in time".to_owned(),
        };
        tracing::error!(event = %EventCode::SyncNotEnqueued, %user_id, reason, "sync not enqueued");
        Err(reason)
    }

    /// The one answer to what does not come through a channel of ours.
    fn refuse_unknown(&self, address: IpAddr) -> Handled {
        self.gate.refuse(address, StatusCode::NOT_FOUND, "unknown_caller")
    }
}

fn accepted(outcome: OutcomeCode) -> Handled {
    Handled::new(outcome, StatusCode::NO_CONTENT)
}

/// What a notification says; its body is empty.
struct Push<'a> {
    channel_id: &'a str,
    proof: Proof,
    state: &'a str,
}

impl<'a> Push<'a> {
    fn read(headers: &'a HeaderMap) -> Option<Self> {
        let header = |name| callbacks::header(headers, name);
        Some(Self {
            channel_id: header("x-goog-channel-id")?,
            proof: proof(header("x-goog-channel-token")?, header("x-goog-resource-id")?),
            state: header("x-goog-resource-state")?,
        })
    }

    fn calls_for_sync(&self) -> bool {
        matches!(self.state, "exists" | "not_exists")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terraform_tells_google_a_path_that_is_served() {
        let outputs = include_str!("../../../infra/gcp/outputs.tf");
        assert!(outputs.contains(&format!("].url}}{}\"", PATHS[0])));
    }

    #[test]
    fn cloud_run_lets_more_requests_in_than_are_worked_on_at_the_same_time() {
        let declared: serde_json::Value =
            serde_json::from_str(include_str!("../../../infra/gcp/functions.json")).unwrap();
        let concurrency = declared["services"]["webhooks"]["concurrency"].as_u64().unwrap();
        assert!(concurrency >= 2 * MAX_IN_PROGRESS as u64, "{concurrency}");
    }
}
