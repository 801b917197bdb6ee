//! The gate that every job's calls to Google's APIs go through.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::config::InvalidConfig;
use shared::db;
use shared::job::{Context, Setup};
use shared::rate_limit::{Decision, Limit, Limiter, Plan};
use uuid::Uuid;

use super::session::CALL_TIMEOUT;
use super::{Error, Session, TokenError, Tokens};
use crate::limits::{GOOGLE_CALENDAR, GOOGLE_PEOPLE};
use crate::payload::Integration;

/// A call, and a second one with a fresh token.
const CALLS: u32 = 2;

/// Lets a job's tasks call one of Google's APIs.
#[derive(Debug, Clone)]
pub struct Gate {
    tokens: Tokens,
    limiter: Limiter,
    integration: Integration,
    /// No call begins with less time left.
    reserve: Duration,
}

impl Gate {
    /// The gate to the API of `integration`, for a job that needs `writing` to store what one call brings.
    pub fn new(
        setup: &mut Setup,
        integration: Integration,
        writing: Duration,
    ) -> Result<Self, InvalidConfig> {
        let (tokens, limiter) = (Tokens::new(setup), setup.limiter());
        Ok(Self { tokens: tokens?, limiter: limiter?, integration, reserve: CALL_TIMEOUT * CALLS + writing })
    }

    /// The calls of one task on behalf of one user, whose access token is good for some minutes.
    pub async fn calls<'a>(&self, user_id: Uuid, context: &'a Context) -> Result<Calls<'a>, Stop> {
        let session = Session::begin(&self.tokens, user_id, self.integration).await;
        let session = session.map_err(|error| Stop::of(error, context.now()))?;
        let limit = limit(self.integration);
        let plan = Plan::new(&self.limiter, user_id, [(limit, 0)]);
        Ok(Calls { session, plan, limit, reserve: self.reserve, context })
    }
}

/// The calls of one task on behalf of one user.
#[derive(Debug)]
pub struct Calls<'a> {
    session: Session,
    plan: Plan<1>,
    limit: &'static Limit,
    reserve: Duration,
    context: &'a Context,
}

impl Calls<'_> {
    /// Expects so many calls from now on: they are acquired together, at the price of one.
    pub fn expect(&mut self, calls: u32) {
        self.plan.expect(self.limit, calls);
    }

    /// Acquires one call, to be made with the token that is returned.
    ///
    /// [`Stop::Wait`] when the user's rate limit is met, and when the call might not be over, or what it brings not be
    /// stored, before the job's time is.
    pub async fn acquire(&mut self) -> Result<&mut Session, Stop> {
        if self.context.is_cancelled() || self.context.time_left() < self.reserve {
            return Err(Stop::Wait(self.context.now()));
        }
        match self.plan.acquire(self.limit).await {
            Decision::Allowed => Ok(&mut self.session),
            Decision::LimitedUntil(until) => Err(Stop::Wait(until)),
        }
    }

    /// Calls made so far, for `sync_metrics`.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.session.calls()
    }

    /// What a call that failed means for the task.
    #[must_use]
    pub fn stop(&self, error: Error) -> Stop {
        Stop::of(error, self.context.now())
    }
}

/// Why a task makes no more calls.
#[derive(Debug)]
pub enum Stop {
    /// A rate limit is met, until then; or Google refuses the token, and not before then is it known whether the user is to
    /// blame; or the time is up, or the instance stops.
    Wait(DateTime<Utc>),
    /// The user is not connected any more.
    Disconnected(Disconnected),
    /// Google, or the way to it, fails.
    Google(Error),
    /// Postgres fails.
    Database(db::Error),
}

/// Why a user has no token, which only the user can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnected {
    /// There is none for the integration.
    NotConnected,
    /// Google does not take it any more.
    Revoked,
    /// It lacks what the user has to grant.
    MissingScope,
    /// The account does not have the service.
    NoAccount,
}

impl Stop {
    fn of(error: Error, now: DateTime<Utc>) -> Self {
        match error {
            Error::Limited { retry_after } => Self::Wait(now + retry_after),
            Error::Token(TokenError::NotConnected) => Self::Disconnected(Disconnected::NotConnected),
            Error::Token(TokenError::Revoked) => Self::Disconnected(Disconnected::Revoked),
            Error::MissingScope | Error::Token(TokenError::MissingScope) => {
                Self::Disconnected(Disconnected::MissingScope)
            }
            Error::NoCalendarAccount => Self::Disconnected(Disconnected::NoAccount),
            Error::Token(TokenError::Suspected { until }) => Self::Wait(until),
            Error::Token(TokenError::Database(error)) => Self::Database(error),
            error @ (Error::Token(
                TokenError::ManyRefused
                | TokenError::Superseded
                | TokenError::Encryption(_)
                | TokenError::Refused { .. }
                | TokenError::Unavailable(_)
                | TokenError::Transport(_)
                | TokenError::Answer(_)
                | TokenError::Garbage,
            )
            | Error::Unauthorized
            | Error::SyncTokenExpired
            | Error::ApiDisabled
            | Error::AddressRefused { .. }
            | Error::NotFound
            | Error::Forbidden { .. }
            | Error::Refused { .. }
            | Error::Unavailable(_)
            | Error::Timeout
            | Error::Transport(_)
            | Error::Truncated
            | Error::TooLarge
            | Error::Garbage(_)
            | Error::Client(_)) => Self::Google(error),
        }
    }
}

impl From<db::Error> for Stop {
    fn from(error: db::Error) -> Self {
        Self::Database(error)
    }
}

/// The rate limit on the calls to the API of an integration.
fn limit(integration: Integration) -> &'static Limit {
    match integration {
        Integration::GoogleCalendar => &GOOGLE_CALENDAR,
        Integration::GoogleContacts => &GOOGLE_PEOPLE,
    }
}
