//! Receives what vendors send of their own accord. It is the one service that anybody may call, so each request is
//! an unknown caller's until it has shown otherwise.
//!
//! | `POST` | what comes | answer | what happens |
//! |---|---|---|---|
//! | `/google-calendar`, `/api/webhooks/calendar` | `exists`, `not_exists` through a user's channel | 204 | recorded; a calendar sync, one for all of a [window](catchup::webhooks::SYNC_WINDOW) |
//! | | … while that sync is sure not to have begun | 204 | nothing: the sync covers it |
//! | | `sync` and other states through a user's channel | 204 | recorded as ignored |
//! | | anything else: unknown channel, another token or resource, no headers | 404, empty | nothing; the response does not say which |
//! | | a body of more than [`google_calendar::MAX_BODY_BYTES`]; Google sends none | 413 | nothing |
//! | | Postgres or Cloud Tasks is unavailable | 503, `Retry-After` | Google sends it again |
//! | | [`google_calendar::MAX_IN_PROGRESS`] requests are in progress, and it comes through a channel that was checked before | 503, `Retry-After` | Google sends it again |
//! | | the same for an unknown caller; its address has used up its limit, and another request of such an address is in progress | 502, `Retry-After` | Google sends it again; no deployment is [blamed](shared::runtime::TURNED_AWAY) for it |
//! | other paths and methods | | 404, empty | nothing |
//!
//! **Who is counted.** A request is checked before it is counted, and only unknown callers are: the channels of all users call from a
//! few addresses of Google. A channel needs no limit: it costs one statement and one task per window, whatever comes through
//! it. An address with too many requests that show nothing is still answered, one request at a time and without log lines, so that
//! it takes one connection to Postgres at most; channels that were checked before do not wait for it.

pub mod google_calendar;
mod unknown_callers;

pub use unknown_callers::MAX_REQUESTS;

use std::sync::Arc;

use catchup::variables;
use google_calendar::Receiver;
use shared::config::InvalidConfig;
use shared::job::Setup;
use shared::runtime::{Endpoints, Service};

/// The service.
pub static SERVICE: Service = Service {
    name: "webhooks",
    serves: "what vendors send of their own accord, such as push notifications,",
    variables: variables::ALL,
    endpoints,
};

fn endpoints(setup: &mut Setup) -> Result<Endpoints, InvalidConfig> {
    let receiver = Arc::new(Receiver::new(setup)?);
    Ok(google_calendar::PATHS.iter().fold(Endpoints::default(), |endpoints, path| {
        let receiver = Arc::clone(&receiver);
        endpoints.post(path, move |request| Arc::clone(&receiver).receive(request))
    }))
}
