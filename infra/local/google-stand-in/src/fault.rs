//! Faults on demand, per user and per call.

use serde::{Deserialize, Serialize};
use stand_in::Times;
use uuid::Uuid;

use crate::call::Call;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// 401, as for an access token that is not valid.
    Unauthorized,
    /// 403 `userRateLimitExceeded`.
    RateLimit,
    /// 429 with `Retry-After`.
    TooManyRequests {
        /// Seconds.
        #[serde(default = "default_retry_after_s")]
        retry_after_s: u32,
    },
    /// 403 `rateLimitExceeded`, as for a quota that lasts the day.
    DayQuota,
    /// 429 without a time for a list's first page; a page or sync token passes.
    FirstPageQuota,
    /// 403 `SERVICE_DISABLED`: the API is switched off for the project.
    ApiDisabled,
    /// 403 `notACalendarUser`.
    NotACalendarUser,
    /// 401 `push.webhookUrlUnauthorized`: the address, not the token.
    AddressUnauthorized,
    /// 400 `pushNotSupportedForRequestedResource`.
    PushNotSupported,
    /// 410 `fullSyncRequired`.
    Gone,
    /// 400 with the reason `EXPIRED_SYNC_TOKEN`.
    ExpiredSyncToken,
    /// 500, or the status given.
    ServerError {
        /// A status from 500 to 599.
        #[serde(default = "default_server_error")]
        status: u16,
    },
    /// The right answer, late.
    Slow {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// The connection is reset without an answer.
    Reset,
    /// The call is obeyed, and then the connection is reset: the caller does not hear of it.
    AnswerLost,
    /// `invalid_grant` from the token endpoint, 401 from the rest.
    Revoked,
    /// 200 with a body that is not what it says.
    Garbage,
    /// 200 with a body of a gibibyte.
    Huge,
    /// The same, when more than so many are asked for on a page.
    HugeAbove {
        /// Events.
        page_size: u32,
    },
    /// 400, 403 or 404: Calendar refuses to show it.
    Refused {
        /// A status from 400 to 499.
        status: u16,
    },
    /// The right answer, without `nextSyncToken`.
    NoSyncToken,
    /// The answer to a list, with nothing on it.
    Empty,
    /// A list of calendars without the primary one.
    NoPrimary,
}

const fn default_retry_after_s() -> u32 {
    30
}

const fn default_server_error() -> u16 {
    500
}

/// Something that is to go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Whose calls; `None` for everybody's.
    pub user: Option<Uuid>,
    /// Which calls; `None` for all.
    pub call: Option<Call>,
    /// About which calendar; `None` for calls about any, or none.
    pub calendar: Option<String>,
    /// What happens to them.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// To how many of them.
    pub times: Times,
    /// After how many that go well.
    pub after: u32,
}

impl Fault {
    /// A fault that strikes everybody's next call.
    #[must_use]
    pub const fn new(kind: FaultKind) -> Self {
        Self { user: None, call: None, calendar: None, kind, times: Times::Count(1), after: 0 }
    }

    /// Only for this user.
    #[must_use]
    pub fn user(self, user: Uuid) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Only for this method.
    #[must_use]
    pub fn call(self, call: Call) -> Self {
        Self { call: Some(call), ..self }
    }

    /// Only about this calendar.
    #[must_use]
    pub fn calendar(self, calendar_id: &str) -> Self {
        Self { calendar: Some(calendar_id.to_owned()), ..self }
    }

    /// This many times.
    #[must_use]
    pub fn times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    /// Not before this many calls succeeded.
    #[must_use]
    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }

    fn concerns(&self, user: Option<Uuid>, call: Call, calendar: Option<&str>) -> bool {
        self.user.is_none_or(|of| user == Some(of))
            && self.call.is_none_or(|of| of == call)
            && self.calendar.as_deref().is_none_or(|of| calendar == Some(of))
    }
}

/// The fault that strikes this call, if any; the first one armed wins, and what is used up is dropped.
pub(crate) fn strike(
    faults: &mut Vec<Fault>,
    user: Option<Uuid>,
    call: Call,
    calendar: Option<&str>,
) -> Option<FaultKind> {
    let mut struck = None;
    faults.retain_mut(|fault| {
        if !fault.concerns(user, call, calendar) {
            return true;
        }
        if fault.after > 0 {
            fault.after -= 1;
            return true;
        }
        if struck.is_some() {
            return true;
        }
        struck = Some(fault.kind);
        fault.times.spend()
    });
    struck
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(faults: &mut Vec<Fault>, calls: usize) -> Vec<bool> {
        (0..calls).map(|_| strike(faults, None, Call::EventsList, None).is_some()).collect()
    }

    #[test]
    fn fault_skips_the_first_calls_and_applies_as_often_as_declared() {
        let fault = Fault::new(FaultKind::Reset).call(Call::EventsList).after(1).times(Times::Count(2));
        let mut faults = vec![fault];
        assert_eq!(strike(&mut faults, None, Call::Token, None), None);
        assert_eq!(strikes(&mut faults, 5), [false, true, true, false, false]);
        assert!(faults.is_empty());
    }
}
