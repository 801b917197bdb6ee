//! Who calls without showing that they may, by address: what bounds what they cost. In this process only: an unknown caller must not
//! cause commands to Redis, which are billed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use catchup::limits::API_ADDRESS;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 10_000;
/// Requests from addresses over their limit that are handled at the same time.
const TURNS: usize = 1;

/// What unknown callers have sent within the last window.
#[derive(Debug)]
pub(crate) struct UnknownCallers {
    trusted_hops: usize,
    seen: Mutex<HashMap<IpAddr, Seen>>,
    turns: Semaphore,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    requests: u32,
}

impl Seen {
    fn is_current(&self) -> bool {
        self.since.elapsed() < API_ADDRESS.window
    }
}

/// Whether a request may be handled now.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// It may.
    Free,
    /// It may, and others of addresses over their limit wait for it.
    Limited { _permit: SemaphorePermit<'a> },
    /// Another one of an address over its limit is being handled.
    Busy,
}

impl UnknownCallers {
    /// Behind so many of our proxies.
    pub(crate) fn behind(trusted_hops: usize) -> Self {
        Self { trusted_hops, seen: Mutex::default(), turns: Semaphore::new(TURNS) }
    }

    /// Who calls. An IPv6 address counts as the network that its owner has.
    pub(crate) fn address(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        let caller = caller(request.headers(), peer, self.trusted_hops);
        match caller.unwrap_or(Ipv6Addr::UNSPECIFIED.into()).to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address @ IpAddr::V4(_) => address,
        }
    }

    /// To be held while a request is handled.
    pub(crate) fn turn(&self, address: IpAddr) -> Turn<'_> {
        if !self.is_limited(address) {
            return Turn::Free;
        }
        self.turns.try_acquire().map_or(Turn::Busy, |permit| Turn::Limited { _permit: permit })
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
        entry.requests > API_ADDRESS.max
    }

    fn is_limited(&self, address: IpAddr) -> bool {
        self.seen().get(&address).is_some_and(|seen| seen.is_current() && seen.requests >= API_ADDRESS.max)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<IpAddr, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who calls: behind `trusted_hops` proxies the entry that the outermost of them added, else the peer. Each proxy adds the
/// address of its own caller at the end of `X-Forwarded-For`; what comes before these entries may be invented.
fn caller(headers: &HeaderMap, peer: Option<IpAddr>, trusted_hops: usize) -> Option<IpAddr> {
    let entries: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let added = trusted_hops.checked_sub(1).and_then(|outermost| entries.iter().rev().nth(outermost));
    added.and_then(|entry| entry.trim().parse().ok()).or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[track_caller]
    fn check(forwarded: &[&str], trusted_hops: usize, expected: &str) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(caller(&headers, Some(peer), trusted_hops), Some(expected.parse().unwrap()));
    }

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        check(&["1.1.1.1"], 0, "10.0.0.1");
        check(&["1.1.1.1"], 1, "1.1.1.1");
        check(&["6.6.6.6, 1.1.1.1"], 1, "1.1.1.1");
        check(&["6.6.6.6, 1.1.1.1,2.2.2.2"], 2, "1.1.1.1");
        check(&["6.6.6.6", "1.1.1.1", "2001:db8::1"], 1, "2001:db8::1");
    }

    #[test]
    fn a_caller_that_did_not_come_through_the_proxies_is_the_peer() {
        check(&[], 1, "10.0.0.1");
        check(&["1.1.1.1"], 2, "10.0.0.1");
        check(&["unknown"], 1, "10.0.0.1");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one() {
        let callers = UnknownCallers::behind(0);
        let from = |text: &str| {
            let mut request = Request::new(axum::body::Body::empty());
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(text.parse().unwrap(), 1)));
            callers.address(&request)
        };
        assert_eq!(from("2001:db8:0:1::1"), from("2001:db8:0:1:ffff::2"));
        assert_ne!(from("2001:db8:0:1::1"), from("2001:db8:0:2::1"));
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.1"));
    }

    #[test]
    fn an_address_over_its_limit_has_one_turn_at_a_time_and_others_are_free() {
        let callers = UnknownCallers::behind(0);
        for number in 1..=API_ADDRESS.max {
            assert!(matches!(callers.turn(address(1)), Turn::Free), "request {number}");
            assert!(!callers.count(address(1)), "request {number}");
        }
        assert!(callers.count(address(1)));
        let turn = callers.turn(address(1));
        assert!(matches!(turn, Turn::Limited { .. }));
        assert!(matches!(callers.turn(address(1)), Turn::Busy));
        assert!(matches!(callers.turn(address(2)), Turn::Free));
        drop(turn);
        assert!(matches!(callers.turn(address(1)), Turn::Limited { .. }));
    }

    #[test]
    fn memory_is_bounded() {
        let callers = UnknownCallers::behind(0);
        for number in 0..u32::try_from(3 * MAX_ADDRESSES).unwrap() {
            callers.count(address(number));
        }
        assert!(callers.seen().len() <= MAX_ADDRESSES);
    }
}
