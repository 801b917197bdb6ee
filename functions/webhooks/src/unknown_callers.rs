//! Who calls without showing that they may, by address: what bounds what they cost. In this process only: an unknown caller must not
//! cause commands to Redis, which are billed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use shared::runtime;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests that show nothing, of one address within [`WINDOW`], before it is limited.
pub const MAX_REQUESTS: u32 = 60;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;
/// Requests from addresses over their limit that are handled at the same time.
const MAX_LIMITED_IN_PROGRESS: usize = 1;

/// What unknown callers have sent within the last window.
#[derive(Debug)]
pub(crate) struct UnknownCallers {
    seen: Mutex<HashMap<IpAddr, Seen>>,
    limited: Semaphore,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    requests: u32,
}

impl Seen {
    fn is_current(&self) -> bool {
        self.since.elapsed() < WINDOW
    }
}

/// The right to handle a request, to be held as long as that lasts.
#[derive(Debug)]
pub(crate) enum Permit<'a> {
    /// One of any number.
    Unlimited,
    /// One of those for addresses over their limit.
    Limited { _permit: SemaphorePermit<'a> },
}

/// Who calls. An IPv6 address counts as the network that its owner has; without a front end, all callers are one.
pub(crate) fn address(headers: &HeaderMap) -> IpAddr {
    match runtime::caller(headers).unwrap_or(Ipv6Addr::UNSPECIFIED.into()).to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Default for UnknownCallers {
    fn default() -> Self {
        Self { seen: Mutex::default(), limited: Semaphore::new(MAX_LIMITED_IN_PROGRESS) }
    }
}

impl UnknownCallers {
    /// `None` if the address has used up its limit, and another request of such an address is being handled.
    pub(crate) fn acquire(&self, address: IpAddr) -> Option<Permit<'_>> {
        if !self.is_limited(address) {
            return Some(Permit::Unlimited);
        }
        Some(Permit::Limited { _permit: self.limited.try_acquire().ok()? })
    }

    /// Counts a request that showed nothing, and returns whether its address has used up its limit.
    pub(crate) fn count(&self, address: IpAddr) -> bool {
        let mut seen = self.seen();
        if seen.len() >= MAX_ADDRESSES && !seen.contains_key(&address) {
            seen.retain(|_, seen| seen.is_current());
            if seen.len() >= MAX_ADDRESSES {
                // Forgetting gives unknown callers another limit; remembering would cost memory.
                seen.clear();
            }
        }
        let fresh = || Seen { since: Instant::now(), requests: 0 };
        let entry = seen.entry(address).or_insert_with(fresh);
        if !entry.is_current() {
            *entry = fresh();
        }
        entry.requests = entry.requests.saturating_add(1);
        entry.requests > MAX_REQUESTS
    }

    fn is_limited(&self, address: IpAddr) -> bool {
        self.seen().get(&address).is_some_and(|seen| seen.is_current() && seen.requests >= MAX_REQUESTS)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<IpAddr, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let from = |text: &str| {
            let forwarded = ("x-forwarded-for".parse().unwrap(), text.parse().unwrap());
            address(&HeaderMap::from_iter([forwarded]))
        };
        assert_eq!(from("2001:db8:0:1::1"), from("2001:db8:0:1:ffff::2"));
        assert_ne!(from("2001:db8:0:1::1"), from("2001:db8:0:2::1"));
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.1"));
        assert_eq!(address(&HeaderMap::new()), from("unknown"));
    }

    #[test]
    fn an_address_over_its_limit_has_one_permit_at_a_time_and_others_are_not_limited() {
        let callers = UnknownCallers::default();
        for request in 1..=MAX_REQUESTS {
            assert!(matches!(callers.acquire(number(1)), Some(Permit::Unlimited)), "request {request}");
            assert!(!callers.count(number(1)), "request {request}");
        }
        assert!(callers.count(number(1)));
        let permit = callers.acquire(number(1));
        assert!(matches!(permit, Some(Permit::Limited { .. })));
        assert!(callers.acquire(number(1)).is_none());
        assert!(matches!(callers.acquire(number(2)), Some(Permit::Unlimited)));
        drop(permit);
        assert!(matches!(callers.acquire(number(1)), Some(Permit::Limited { .. })));
    }

    #[test]
    fn memory_is_bounded() {
        let callers = UnknownCallers::default();
        for each in 0..u32::try_from(3 * MAX_ADDRESSES).unwrap() {
            callers.count(number(each));
        }
        assert!(callers.seen().len() <= MAX_ADDRESSES);
    }
}
