//! The load balancer of one service: each request goes to one of the revisions that have a share of the traffic, or to the
//! revision whose tag begins its path. (Cloud Run has the tag in the host: loopback has one address for all.)

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use local_cloud::Background;
use shared::clock::Clock;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Cloud Run's longest request.
const TIMEOUT: Duration = Duration::from_hours(1);
const ALL: i64 = 100;

/// A load balancer; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Front {
    server: Background,
    balance: Arc<Balance>,
}

#[derive(Debug)]
struct Balance {
    http: reqwest::Client,
    shares: Mutex<Vec<Share>>,
    failed: Mutex<Vec<FailedRequest>>,
}

/// What one revision gets.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) revision: String,
    pub(crate) address: SocketAddr,
    pub(crate) percent: i64,
    pub(crate) tag: Option<String>,
    /// Grows by `percent` with each request; who has most is next and pays for it.
    credit: i64,
}

impl Share {
    pub(crate) fn new(revision: String, address: SocketAddr, percent: i64, tag: Option<&str>) -> Self {
        Self { revision, address, percent, tag: tag.map(str::to_owned), credit: 0 }
    }
}

/// A request that was answered with 5xx, as Cloud Run's request log has it.
#[derive(Debug, Clone)]
pub(crate) struct FailedRequest {
    pub(crate) revision: String,
    pub(crate) status: u16,
    pub(crate) at: DateTime<Utc>,
}

fn next(shares: &mut [Share]) -> Option<Share> {
    for share in &mut *shares {
        share.credit += share.percent;
    }
    let share = shares.iter_mut().max_by_key(|share| share.credit).filter(|share| share.percent > 0)?;
    share.credit -= ALL;
    Some(share.clone())
}

/// The revision whose tag begins the path, and the rest of the path.
fn tagged<'a>(shares: &[Share], path: &'a str) -> Option<(Share, &'a str)> {
    let (tag, _) = path.strip_prefix('/')?.split_once('/')?;
    let share = shares.iter().find(|share| share.tag.as_deref() == Some(tag))?;
    Some((share.clone(), &path[1 + tag.len()..]))
}

impl Front {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let balance = Arc::new(Balance {
            http: shared::http::client(CONNECT_TIMEOUT, TIMEOUT),
            shares: Mutex::default(),
            failed: Mutex::default(),
        });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&balance));
        let server = Background::start("front", |listener| async { axum::serve(listener, router).await })?;
        Ok(Self { server, balance })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn split(&self, shares: Vec<Share>) {
        *self.balance.shares.lock().unwrap_or_else(PoisonError::into_inner) = shares;
    }

    pub(crate) fn failed(&self) -> Vec<FailedRequest> {
        self.balance.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn forward(
    State(balance): State<Arc<Balance>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let chosen = {
        let mut shares = balance.shares.lock().unwrap_or_else(PoisonError::into_inner);
        tagged(&shares, path).or_else(|| next(&mut shares).map(|share| (share, path)))
    };
    let Some((Share { revision, address, .. }, path)) = chosen else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    for hop_by_hop in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(hop_by_hop);
    }
    let request = balance.http.request(method, format!("http://{address}{path}")).headers(headers).body(body);
    let (status, answer) = match request.send().await {
        Ok(response) => (response.status(), response.bytes().await.unwrap_or_default()),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
    };
    if status.is_server_error() {
        let failed = FailedRequest { revision, status: status.as_u16(), at: Clock::system().now() };
        balance.failed.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
    }
    (status, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_splits_traffic_by_the_shares_of_revisions() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let share = |name: &str, percent| Share::new(name.to_owned(), address, percent, None);
        let mut shares = vec![share("old", 90), share("new", 10), share("none", 0)];
        let chosen: Vec<String> =
            (0..100).filter_map(|_| next(&mut shares)).map(|share| share.revision).collect();
        assert_eq!(chosen.iter().filter(|name| *name == "old").count(), 90);
        assert_eq!(chosen.iter().filter(|name| *name == "new").count(), 10);
        assert!(next(&mut [share("none", 0)]).is_none());
    }

    #[test]
    fn a_tag_reaches_its_revision_whatever_share_it_has() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let share = |name: &str, tag| Share::new(name.to_owned(), address, 0, tag);
        let shares = [share("old", None), share("new", Some("rev-new"))];
        let found = |path| tagged(&shares, path).map(|(share, rest)| (share.revision, rest));
        assert_eq!(found("/rev-new/api/jobs/f?a=b"), Some(("new".to_owned(), "/api/jobs/f?a=b")));
        for other in ["/api/jobs/f", "/rev-new", "/rev-newer/api", "/"] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
