//! Who calls a service that anybody may call.

use std::net::IpAddr;

use axum::http::HeaderMap;

/// Google's front end adds the address of its caller at the end of this header, so no request that comes through it is
/// without one.
pub(super) const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that called Google's front end: the last entry of `X-Forwarded-For`. What comes before may be invented, also by a
/// caller that goes past a load balancer, so no other entry is read. `None` without a front end, or for an entry that is no
/// address.
#[must_use]
pub fn caller(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(forwarded: &[&str], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        assert_eq!(caller(&headers), expected.map(|address| address.parse().unwrap()), "{forwarded:?}");
    }

    #[test]
    fn only_the_entry_of_the_front_end_is_believed() {
        check(&["1.1.1.1"], Some("1.1.1.1"));
        check(&["6.6.6.6, 1.1.1.1"], Some("1.1.1.1"));
        check(&["6.6.6.6,7.7.7.7", "1.1.1.1 , 2001:db8::1"], Some("2001:db8::1"));
    }

    #[test]
    fn without_an_address_of_the_front_end_there_is_none() {
        check(&[], None);
        check(&["6.6.6.6, unknown"], None);
        check(&["6.6.6.6", ""], None);
    }
}
