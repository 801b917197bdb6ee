//! A server that answers as it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tests::RedisProxy;
use tests::redis_proxy::ProxyAction;
use url::Url;

/// What becomes of one request.
#[derive(Clone)]
pub(crate) enum Reply {
    Answer(u16, Vec<u8>),
    /// It is read, and the connection closed.
    Lost,
    /// It is read, and never answered.
    Silence,
}

impl Reply {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Answer(200, body.into())
    }

    fn action(self) -> ProxyAction {
        match self {
            Self::Answer(status, body) => ProxyAction::Answer(status, body.leak()),
            Self::Lost => ProxyAction::Close,
            Self::Silence => ProxyAction::Silence,
        }
    }
}

/// Deals out replies in their order; the last one for ever.
pub(crate) struct Faulty {
    pub(crate) url: Url,
    replies: Arc<Mutex<VecDeque<ProxyAction>>>,
    requests: Arc<AtomicUsize>,
    _server: RedisProxy,
}

impl Faulty {
    pub(crate) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: VecDeque<_> = replies.into_iter().map(Reply::action).collect();
        let replies = Arc::new(Mutex::new(replies));
        let requests = Arc::new(AtomicUsize::new(0));
        let (dealt, counted) = (Arc::clone(&replies), Arc::clone(&requests));
        // Nothing is passed on.
        let server = RedisProxy::start("", move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut replies = dealt.lock().unwrap();
            let reply = if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0] };
            std::future::ready(reply)
        });
        Self { url: server.url("client").parse().unwrap(), replies, requests, _server: server }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn henceforth(&self, reply: Reply) {
        *self.replies.lock().unwrap() = [reply.action()].into();
    }
}
