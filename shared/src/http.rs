//! Outgoing HTTP: one way to make a client, one way to read an answer.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore};
use url::Url;

/// Shorter than the timeout of the load balancers out there, which close an idle connection after a minute or so: a
/// request that meets such a close may not be sent again by itself.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client with both timeouts, our roots, no proxy and no redirects. Clones of it share their connections.
///
/// `timeout` bounds the whole request, its answer included.
///
/// # Panics
/// Never: everything that can fail in building it is fixed here.
#[must_use]
pub fn client(connect_timeout: Duration, timeout: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls())
        .connect_timeout(connect_timeout)
        .timeout(timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .build()
        .expect("the TLS configuration is of the version that reqwest uses")
}

/// TLS with ring and Mozilla's roots, which are part of the binary: an empty container has none.
///
/// # Panics
/// Never: ring supports the default protocol versions.
#[must_use]
pub fn tls() -> ClientConfig {
    static CONFIG: LazyLock<ClientConfig> = LazyLock::new(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    });
    CONFIG.clone()
}

/// An answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke or the time was over.
    #[error("response ended early")]
    Broken(#[from] reqwest::Error),
    /// The answer is longer than anyone could mean.
    #[error("answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// The body of an answer, if it is at most `max_bytes` long.
pub async fn read_limited(mut response: reqwest::Response, max_bytes: usize) -> Result<Bytes, Error> {
    // Most answers come in one piece.
    let Some(first) = response.chunk().await? else { return Ok(Bytes::new()) };
    if first.len() > max_bytes {
        return Err(Error::TooLarge(max_bytes));
    }
    let Some(second) = response.chunk().await? else { return Ok(first) };
    let mut body = [first, second].concat();
    if body.len() > max_bytes {
        return Err(Error::TooLarge(max_bytes));
    }
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Err(Error::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// Whether traffic to `url` stays on this machine: the only place where plain HTTP may carry a credential.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // In schemes that are not the web's, such as smtp, an IPv4 address counts as a name.
        Some(url::Host::Domain(name)) => is_loopback_host(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether traffic to a host, a name or an address, stays on this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a credential may be sent to `url`: over TLS, or without leaving this machine.
#[must_use]
pub fn is_safe_for_credentials(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_travel_over_tls_or_stay_on_the_machine() {
        for (url, safe) in [
            ("https://example.com", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://a.localhost:1", true),
            ("http://example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("ftp://127.0.0.1", false),
        ] {
            assert_eq!(is_safe_for_credentials(&url.parse().unwrap()), safe, "{url}");
        }
    }
}
