//! Waiting for a condition, instead of for a time.

use std::panic::Location;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);
/// Far longer than anything takes that a test waits for in one process.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until `holds`; fails the caller after 20 s.
#[track_caller]
pub fn eventually<'a>(what: &'a str, mut holds: impl FnMut() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    within(LIMIT, what, move || std::future::ready(holds()))
}

/// Waits until `holds` returns true; fails the caller after `limit`.
#[track_caller]
pub fn within<'a, F: Future<Output = bool>>(
    limit: Duration,
    what: &'a str,
    mut holds: impl FnMut() -> F + 'a,
) -> impl Future<Output = ()> + 'a {
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        while !holds().await {
            assert!(Instant::now() < deadline, "{place}: after {limit:?} still not: {what}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Asks until there is an answer; fails the caller after 20 s.
#[track_caller]
pub fn until_some<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(Instant::now() < deadline, "{place}: after {LIMIT:?} still no answer");
            tokio::time::sleep(POLL).await;
        }
    }
}
