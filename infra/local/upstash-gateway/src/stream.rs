//! `/subscribe`, `/psubscribe` and `/monitor`: what Redis pushes, as server-sent events.
//!
//! Each stream has its own connection to Redis, which a task empties immediately, as Redis expects of subscribers; what
//! the HTTP client has not taken yet waits in memory up to a limit. A client that falls behind further is cut off, as
//! Redis itself would do.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use redis::Msg;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, BackendError, ConnectError};
use crate::failure::Failure;
use crate::request::{Subscription, SubscriptionKind};

/// Bytes that may wait for one client.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// A comment is sent this often, so that proxies keep the connection and a client that went away is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COMMENT: &[u8] = b": keep-alive\n\n";

/// Opens streams, a limited number at a time, until told to close them.
#[derive(Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    closing: CancellationToken,
}

/// An event and its share of the bytes that may wait.
type Waiting = (Bytes, OwnedSemaphorePermit);

impl Streams {
    pub(crate) fn new(places: usize, closing: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), closing }
    }

    /// Subscribes, then answers with the confirmations and every message.
    pub(crate) async fn subscribe(
        &self,
        backend: &Backend,
        wanted: Subscription,
    ) -> Result<Response, Failure> {
        let place = self.place()?;
        let (mut sink, messages) = backend.subscriber().await?.split();
        let word = match wanted.kind {
            SubscriptionKind::Channels => "subscribe",
            SubscriptionKind::Patterns => "psubscribe",
        };
        let mut confirmations = Vec::new();
        for (index, name) in wanted.names.iter().enumerate() {
            let subscribed = match wanted.kind {
                SubscriptionKind::Channels => sink.subscribe(name).await,
                SubscriptionKind::Patterns => sink.psubscribe(name).await,
            };
            subscribed.map_err(|error| BackendError::Unreachable(ConnectError::Handshake(error)))?;
            confirmations.push(format!("{word},{},{}", String::from_utf8_lossy(name), index + 1));
        }
        Ok(self.answer(place, stream::iter(confirmations).chain(messages.map(|message| event_of(&message)))))
    }

    /// Answers with every command that Redis carries out.
    pub(crate) async fn monitor(&self, backend: &Backend) -> Result<Response, Failure> {
        let place = self.place()?;
        let lines = backend.monitor().await?.into_on_message::<String>();
        Ok(self.answer(place, stream::iter(["\"OK\"".to_owned()]).chain(lines)))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Failure::TooManyStreams)
    }

    fn answer(
        &self,
        place: OwnedSemaphorePermit,
        events: impl Stream<Item = String> + Send + 'static,
    ) -> Response {
        let (sender, receiver) = mpsc::unbounded_channel();
        let closing = self.closing.clone();
        tokio::spawn(async move {
            let _place = place;
            pump(events, sender, closing).await;
        });
        let body = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Waiting>| async move {
            let (event, _share) = receiver.recv().await?;
            Some((Ok::<_, Infallible>(event), receiver))
        });
        let headers = [
            (header::CONTENT_TYPE.as_str(), "text/event-stream"),
            (header::CACHE_CONTROL.as_str(), "no-cache"),
            // Asks nginx not to collect events before passing them on.
            ("x-accel-buffering", "no"),
        ];
        (headers, Body::from_stream(body)).into_response()
    }
}

/// Moves events to the client until either side ends, the client falls behind, or the gateway closes.
async fn pump(
    events: impl Stream<Item = String> + Send,
    sender: mpsc::UnboundedSender<Waiting>,
    closing: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
    let mut events = std::pin::pin!(events);
    loop {
        let bytes = tokio::select! {
            () = closing.cancelled() => return,
            () = sender.closed() => return,
            event = events.next() => match event {
                Some(event) => event_bytes(&event),
                None => return,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => KEEP_ALIVE_COMMENT.into(),
        };
        let share =
            u32::try_from(bytes.len()).ok().and_then(|n| Arc::clone(&room).try_acquire_many_owned(n).ok());
        let Some(share) = share else {
            tracing::warn!(limit_bytes = MAX_WAITING_BYTES, "a stream's client fell behind and was cut off");
            return;
        };
        if sender.send((bytes.into(), share)).is_err() {
            return;
        }
    }
}

/// `message,<channel>,<payload>` or `pmessage,<pattern>,<channel>,<payload>`, as Upstash's clients take them apart.
fn event_of(message: &Msg) -> String {
    let payload = String::from_utf8_lossy(message.get_payload_bytes());
    let channel = message.get_channel_name();
    match message.get_pattern::<Option<String>>() {
        Ok(Some(pattern)) => format!("pmessage,{pattern},{channel},{payload}"),
        Ok(None) | Err(_) => format!("message,{channel},{payload}"),
    }
}

/// One `data:` line for each line of the event, as the format wants it.
fn event_bytes(event: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(event.len() + 16);
    for line in event.split('\n') {
        bytes.extend(b"data: ");
        bytes.extend(line.bytes());
        bytes.push(b'\n');
    }
    bytes.push(b'\n');
    bytes
}
