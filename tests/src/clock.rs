//! Clocks that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use shared::clock::Clock;

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct HandClock(Arc<AtomicI64>);

impl Default for HandClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(1_763_900_000_000)))
    }
}

impl HandClock {
    /// At the same time in every test.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it shows, in milliseconds.
    #[must_use]
    pub fn ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Moves it.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// The clock itself.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock_off_by(0)
    }

    /// A clock that differs from it by so many milliseconds.
    #[must_use]
    pub fn clock_off_by(&self, skew_ms: i64) -> Clock {
        let hand = self.clone();
        Clock::from_fn(move || DateTime::from_timestamp_millis(hand.ms() + skew_ms).expect("a time"))
    }
}

/// The machine's clock, ahead by as much as a test says.
#[derive(Debug, Clone, Default)]
pub struct AheadClock(Arc<AtomicI64>);

impl AheadClock {
    /// Lets time pass.
    pub fn advance(&self, by: TimeDelta) {
        self.0.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }

    /// Lets time pass until then, if that is ahead.
    pub fn advance_to(&self, then: DateTime<Utc>) {
        let ahead_ms = (then - Clock::system().now()).num_milliseconds();
        self.0.fetch_max(ahead_ms + 1, Ordering::SeqCst);
    }

    /// Shows the machine's time again.
    pub fn reset(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    /// The clock itself.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let (ahead, machine) = (Arc::clone(&self.0), Clock::system());
        Clock::from_fn(move || machine.now() + TimeDelta::milliseconds(ahead.load(Ordering::SeqCst)))
    }
}

/// A zone in which it is noon, give or take an hour: what is sent to a person there waits for no morning.
#[must_use]
pub fn zone_of_noon() -> String {
    // `Etc/GMT-3` is three hours ahead.
    let ahead = 12 - i64::from(Clock::system().now().hour());
    format!("Etc/GMT{:+}", -ahead)
}
