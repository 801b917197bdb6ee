//! Whether a sync may begin. Pure.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::breaker::Pass;
use super::schedule::Schedule;
use crate::db::sync_status::{SyncStatus, TokenState};
#[cfg(feature = "google-apis")]
use crate::google::Disconnected;
use crate::payload::Integration;

/// What asks for admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A sync that begins. While another one of the user's integration is under way, it waits.
    First,
    /// As [`Entry::First`], in a task whose repetition is the same sync: between its parts it may begin again.
    Named(Uuid),
    /// A sync of this name ([`Admitted::run`]) that was let through before and continues in another task: the breaker is
    /// not asked again.
    Continued(Uuid),
    /// No sync: it may run next to one.
    Check,
}

impl Entry {
    /// Names the sync.
    pub(super) fn run(self) -> Uuid {
        match self {
            Self::First | Self::Check => Uuid::new_v4(),
            Self::Named(run) | Self::Continued(run) => run,
        }
    }
}

/// Whether a user may be synced now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Admitted(Admitted),
    /// No, and the task has nothing to do.
    Refused(Refusal),
}

/// Lets a sync begin, and knows how it will be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The one sync that a half-open breaker lets through.
    pub probe: bool,
    /// Names the sync, over all its parts.
    pub run: Uuid,
    pub(super) schedule: Schedule,
}

/// Why a sync may not begin; the stable name is that of `sync_metrics.skip_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// There is no such user.
    UnknownUser,
    /// The user has no token for the integration.
    NotConnected,
    /// Google does not take the user's token any more.
    TokenRevoked,
    /// The user has not granted all that the integration needs.
    MissingScope,
    /// The account does not have the service.
    NoAccount,
    /// The circuit breaker is open. The application's dashboard counts these by this name.
    #[strum(serialize = "circuit_breaker_open")]
    CircuitOpen,
}

impl Refusal {
    /// The stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.into()
    }
}

#[cfg(feature = "google-apis")]
impl From<Disconnected> for Refusal {
    fn from(reason: Disconnected) -> Self {
        match reason {
            Disconnected::NotConnected => Self::NotConnected,
            Disconnected::Revoked => Self::TokenRevoked,
            Disconnected::MissingScope => Self::MissingScope,
            Disconnected::NoAccount => Self::NoAccount,
        }
    }
}

/// The schedule of a sync that may begin, and how its breaker lets it through.
pub(super) fn admission(
    status: Option<&SyncStatus>,
    integration: Integration,
    entry: Entry,
    now: DateTime<Utc>,
) -> Result<(Schedule, Pass), Refusal> {
    let status = status.ok_or(Refusal::UnknownUser)?;
    match status.token {
        TokenState::Missing => return Err(Refusal::NotConnected),
        TokenState::LacksScope => return Err(Refusal::MissingScope),
        TokenState::Revoked => return Err(Refusal::TokenRevoked),
        TokenState::Usable => {}
    }
    let pass = match entry {
        Entry::First | Entry::Named(_) | Entry::Check => status.breaker.pass(now),
        Entry::Continued(_) => Pass::Free,
    };
    if pass == Pass::Blocked {
        return Err(Refusal::CircuitOpen);
    }
    let schedule = match status.schedule {
        Some(stored) => {
            Schedule::stored(integration, stored.intervals_ms, stored.no_changes, stored.onboarding_until)
        }
        None => Schedule::new(integration, status.connected_at.unwrap_or(now)),
    };
    Ok((schedule.with_push_channel(status.has_push_channel), pass))
}
