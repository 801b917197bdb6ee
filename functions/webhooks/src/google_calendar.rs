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
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use catchup::db::push_notifications::{Notification, NotificationResult, Notifications, Proof, proof};
use catchup::event::EventCode;
use catchup::variables;
use catchup::webhooks::ask_for_sync;
use known::KnownChannels;
use shared::clock::Clock;
use shared::config::InvalidConfig;
use shared::db;
use shared::job::Setup;
use shared::runtime::Handled;
use shared::tasks::{Coverage, Tasks};
use shared::telemetry::line::OutcomeCode;
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;
use uuid::Uuid;

use crate::unknown_callers::{Turn, UnknownCallers};

/// Where Google sends them. The second one is the application's, which the channels that it opened know.
pub const PATHS: [&str; 2] = ["/google-calendar", "/api/webhooks/calendar"];
/// Far more than Google sends, which is no body at all. None is read.
pub const MAX_BODY_BYTES: u64 = 4096;

/// Longest header that a channel of ours can have: its column's size.
const MAX_HEADER_CHARS: usize = 255;
/// What one notification may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What the task may take, so that its failure can still be recorded.
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(30);
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// Takes notifications.
#[derive(Debug)]
pub(crate) struct Receiver {
    notifications: Notifications,
    tasks: Tasks,
    clock: Clock,
    unknown_callers: UnknownCallers,
    known: KnownChannels,
}

impl Receiver {
    pub(crate) fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (notifications, tasks) = (Notifications::new(setup), setup.tasks());
        let trusted_hops = setup.config().required(&variables::TRUSTED_PROXY_HOPS);
        Ok(Self {
            notifications: notifications?,
            tasks: tasks?,
            clock: setup.clock(),
            unknown_callers: UnknownCallers::behind(trusted_hops?),
            known: KnownChannels::default(),
        })
    }

    pub(crate) async fn receive(self: Arc<Self>, request: Request) -> Handled {
        if request.body().size_hint().lower() > MAX_BODY_BYTES {
            return Handled::new(OutcomeCode::Skipped, StatusCode::PAYLOAD_TOO_LARGE).because("too_large");
        }
        let address = self.unknown_callers.address(&request);
        let Some(push) = Push::read(request.headers()) else { return self.refuse(address) };
        let known = self.known.find(push.channel_id, &push.proof);
        if push.calls_for_sync()
            && let Some(user_id) = known.and_then(|known| known.covered_user(self.clock.now()))
        {
            return taken(OutcomeCode::Duplicate).about(user_id);
        }
        // A channel that was checked before is known, whatever else comes from the address.
        let turn = if known.is_some() { Turn::Free } else { self.unknown_callers.turn(address) };
        if let Turn::Busy = turn {
            return again(RETRY_AFTER_BUSY).because("busy").without_line();
        }
        match timeout(TIMEOUT, self.take(&push)).await {
            Ok(Ok(Some(handled))) => handled,
            Ok(Ok(None)) => self.refuse(address),
            Ok(Err(error)) => {
                tracing::error!(
                    event = %EventCode::PushNotAccepted,
                    error = &error as &dyn std::error::Error,
                    "push notification not accepted"
                );
                again(RETRY_AFTER_OUTAGE).because("postgres")
            }
            Err(_) => again(RETRY_AFTER_OUTAGE).because("timeout"),
        }
    }

    /// Takes a notification; `None` for one that does not come through a channel of ours.
    async fn take(&self, push: &Push<'_>) -> Result<Option<Handled>, db::Error> {
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
            return Ok(Some(taken(OutcomeCode::Skipped).because("no_change").about(user_id)));
        }
        let handled = match self.ask_for_sync(user_id).await {
            Ok(coverage) => {
                self.known.remember(push.channel_id, push.proof, user_id, coverage, now);
                taken(OutcomeCode::Done)
            }
            Err(reason) => {
                if let Some(notification) = channel.notification {
                    self.notifications.mark_failed(notification, &reason).await?;
                }
                again(RETRY_AFTER_OUTAGE).because("cloud_tasks")
            }
        };
        Ok(Some(handled.about(user_id)))
    }

    async fn ask_for_sync(&self, user_id: Uuid) -> Result<Coverage, String> {
        let reason = match timeout(ENQUEUE_TIMEOUT, ask_for_sync(&self.tasks, user_id)).await {
            Ok(Ok(coverage)) => return Ok(coverage),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "task was not created in time".to_owned(),
        };
        tracing::error!(event = %EventCode::SyncNotEnqueued, %user_id, reason, "sync not enqueued");
        Err(reason)
    }

    /// The one answer to whatever does not come from Google.
    fn refuse(&self, address: IpAddr) -> Handled {
        let refused = Handled::new(OutcomeCode::Skipped, StatusCode::NOT_FOUND).because("unknown_caller");
        if self.unknown_callers.count(address) { refused.without_line() } else { refused }
    }
}

fn taken(outcome: OutcomeCode) -> Handled {
    Handled::new(outcome, StatusCode::NO_CONTENT)
}

fn again(after: Duration) -> Handled {
    let seconds = after.as_secs().to_string();
    Handled::new(OutcomeCode::Unavailable, (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds)]))
}

/// What a notification says; its body is empty.
struct Push<'a> {
    channel_id: &'a str,
    proof: Proof,
    state: &'a str,
}

impl<'a> Push<'a> {
    fn read(headers: &'a HeaderMap) -> Option<Self> {
        let header = |name: &str| {
            headers.get(name)?.to_str().ok().filter(|text| (1..=MAX_HEADER_CHARS).contains(&text.len()))
        };
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
}
