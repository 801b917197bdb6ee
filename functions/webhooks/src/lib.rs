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
//! | `/twilio/status?message=…` | Twilio's signed report of what became of a text | 204 | the ledger knows; 21610 ends texts |
//! | `/twilio/incoming` | a signed text to our number: STOP, START and their like | 200, an empty answer | texts end, or begin again |
//! | `/sendgrid/events` | SendGrid's signed events | 204 | the ledger knows; complaints and unsubscribes end e-mail |
//! | `/unsubscribe?t=…` | a signed link, by button or one click (RFC 8058) | 200, a page | that list ends for the person |
//! | `/suggestion?t=…` | a signed link: we met, not now, never | 200, a page | what the person says of the suggestion |
//! | … of these five | no signature, or one that is not right | 404, empty | nothing |
//! | other paths and methods | | 404, empty | nothing |
//!
//! `GET` of the two links shows a page with one button and changes nothing: mail scanners fetch every link. Each callback may come
//! twice, late and in any order: the ledger's states only move forward, and what changes a person's wishes counts once.
//!
//! **Who is counted.** A request is checked before it is counted, and only unknown callers are: the channels of all users call from a
//! few addresses of Google. A channel needs no limit: it costs one statement and one task per window, whatever comes through
//! it. An address with too many requests that show nothing is still answered, one request at a time and without log lines, so that
//! it takes one connection to Postgres at most; channels that were checked before do not wait for it.

mod callbacks;
pub mod google_calendar;
pub mod links;
pub mod sendgrid;
pub mod twilio;
mod unknown_callers;

pub use unknown_callers::MAX_REQUESTS;

use std::sync::Arc;

use callbacks::Gate;
use catchup::variables;
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
    let gate = Gate::default();
    let calendar = google_calendar::Receiver::new(setup, gate.clone());
    let (twilio, sendgrid) =
        (twilio::Receiver::new(setup, gate.clone()), sendgrid::Receiver::new(setup, gate.clone()));
    let links = links::Receiver::new(setup, gate);
    let (calendar, twilio) = (Arc::new(calendar?), Arc::new(twilio?));
    let (sendgrid, links) = (Arc::new(sendgrid?), Arc::new(links?));
    let endpoints = google_calendar::PATHS.iter().fold(Endpoints::default(), |endpoints, path| {
        let calendar = Arc::clone(&calendar);
        endpoints.post(path, move |request| Arc::clone(&calendar).receive(request))
    });
    let incoming = Arc::clone(&twilio);
    let endpoints = endpoints
        .post(twilio::STATUS_PATH, move |request| Arc::clone(&twilio).status(request))
        .post(twilio::INCOMING_PATH, move |request| Arc::clone(&incoming).incoming(request))
        .post(sendgrid::PATH, move |request| Arc::clone(&sendgrid).receive(request));
    Ok(links::PATHS.iter().fold(endpoints, |endpoints, path| {
        let (show, act) = (Arc::clone(&links), Arc::clone(&links));
        endpoints
            .get(path, move |request| Arc::clone(&show).show(request))
            .post(path, move |request| Arc::clone(&act).act(request))
    }))
}
