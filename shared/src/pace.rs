//! How long the runtime waits: production's times, or those divided by a number, for tests and the local cloud.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{Config, InvalidConfig, variables};
use crate::queue::Queue;

/// How long a lease holds without renewal: a killed run blocks its task for this long.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// Clocks may differ by this much.
const GRACE: TimeDelta = TimeDelta::seconds(5);
/// An instance's runs lose their leases within one lease time; later, no other run will be found to have died with it.
const COMPANY_WINDOW: TimeDelta = TimeDelta::seconds(70);
/// Time between renewals that succeed, and between those that fail.
const RENEWAL: Duration = Duration::from_secs(20);
const RENEWAL_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// When to check again for what was there and is not.
const SOON: TimeDelta = TimeDelta::seconds(5);

/// How long the runtime waits: what its times are divided by.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    backoffs: u32,
    leases: u32,
    timeouts: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { backoffs: 1, leases: 1, timeouts: 1 }
    }
}

impl Pace {
    /// Reads `RETRY_BACKOFF_DIVISOR`, `LEASE_DIVISOR` and `TIMEOUT_DIVISOR`.
    pub fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let backoffs = config.required::<NonZeroU32>(&variables::RETRY_BACKOFF_DIVISOR);
        let leases = config.required::<NonZeroU32>(&variables::LEASE_DIVISOR);
        let timeouts = config.required::<NonZeroU32>(&variables::TIMEOUT_DIVISOR);
        Ok(Self { backoffs: backoffs?.get(), leases: leases?.get(), timeouts: timeouts?.get() })
    }

    /// Wait before the next run after so many failures.
    #[must_use]
    pub fn backoff(&self, queue: Queue, failures: u32) -> TimeDelta {
        let wait = queue.policy().backoff(failures) / self.backoffs;
        TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
    }

    /// How long a lease holds without renewal.
    #[must_use]
    pub fn lease(&self) -> TimeDelta {
        self.shortened(LEASE)
    }

    /// How long after its end a lease still counts as live.
    #[must_use]
    pub fn grace(&self) -> TimeDelta {
        self.shortened(GRACE)
    }

    /// How long after a kill the other runs that died with it may still be found.
    #[must_use]
    pub fn company_window(&self) -> TimeDelta {
        self.shortened(COMPANY_WINDOW)
    }

    /// Time from one renewal to the next.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        RENEWAL / self.leases
    }

    /// Time from a renewal that failed to the next.
    #[must_use]
    pub fn renewal_after_failure(&self) -> Duration {
        RENEWAL_AFTER_FAILURE / self.leases
    }

    /// How long a job of the queue may run.
    #[must_use]
    pub fn timeout(&self, queue: Queue) -> Duration {
        queue.policy().timeout() / self.timeouts
    }

    /// How long after its begin a run of the queue is certainly over.
    #[must_use]
    pub fn end_of_run(&self, queue: Queue) -> TimeDelta {
        let deadline = queue.policy().dispatch_deadline() / self.timeouts;
        TimeDelta::from_std(deadline).unwrap_or(TimeDelta::MAX)
    }

    /// A moment, for what should be over by then.
    #[must_use]
    pub fn soon(&self) -> TimeDelta {
        self.shortened(SOON)
    }

    /// When to check a lease again that expires at `until`, unless it is renewed. A clock that is ahead must not turn
    /// the wait into a busy loop, nor one that is behind into a long sleep.
    #[must_use]
    pub fn after_lease(&self, until: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        until.clamp(now, now + self.lease()) + self.grace() + self.soon() / 5
    }

    fn shortened(self, time: TimeDelta) -> TimeDelta {
        time / self.leases.cast_signed()
    }
}
