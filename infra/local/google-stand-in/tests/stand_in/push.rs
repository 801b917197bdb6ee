//! `events.watch`, `channels.stop` and what is delivered.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chrono::TimeDelta;
use google_stand_in::{Call, Event, Fault, FaultKind};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use crate::site::{Refusal, Site, text};

const WATCH: &str = "/calendar/v3/calendars/primary/events/watch";
const STOP: &str = "/calendar/v3/channels/stop";
const DEADLINE: Duration = Duration::from_secs(20);

/// The application's end of a channel.
struct Receiver {
    address: String,
    received: Mutex<UnboundedReceiver<HeaderMap>>,
    _server: JoinSet<()>,
}

impl Receiver {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (sender, received) = unbounded_channel();
        let app = Router::new().route("/hook", post(keep)).with_state(Arc::new(sender));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.expect("serve") });
        Self { address, received: Mutex::new(received), _server: server }
    }

    async fn next(&self) -> HeaderMap {
        let mut received = self.received.lock().await;
        timeout(DEADLINE, received.recv()).await.expect("in time").expect("a notification")
    }

    fn quiet(&mut self) -> bool {
        self.received.get_mut().try_recv().is_err()
    }
}

async fn keep(State(sender): State<Arc<UnboundedSender<HeaderMap>>>, headers: HeaderMap) -> StatusCode {
    sender.send(headers).expect("the receiver lives");
    StatusCode::OK
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().expect("text")
}

fn channel(id: &str, address: &str) -> Value {
    json!({"id": id, "type": "web_hook", "address": address, "token": "secret"})
}

#[tokio::test]
async fn a_channel_says_hello_reports_changes_and_is_quiet_once_stopped() {
    let site = Site::open();
    let api = site.calendar().await;
    let mut receiver = Receiver::open().await;
    let opened = api.post(WATCH, channel("c-1", &receiver.address)).await.ok();
    let expiration: i64 = text(&opened, "expiration").parse().expect("milliseconds");
    assert_eq!(expiration, (site.world.now() + TimeDelta::days(7)).timestamp_millis());
    let hello = receiver.next().await;
    for (name, value) in [
        ("x-goog-channel-id", "c-1"),
        ("x-goog-channel-token", "secret"),
        ("x-goog-resource-state", "sync"),
        ("x-goog-message-number", "1"),
        ("x-forwarded-for", "203.0.113.1"),
        ("x-goog-resource-id", opened["resourceId"].as_str().expect("text")),
        ("x-goog-resource-uri", opened["resourceUri"].as_str().expect("text")),
        ("x-goog-channel-expiration", "Fri, 27 Mar 2026 10:30:00 GMT"),
    ] {
        assert_eq!(header(&hello, name), value);
    }
    let user = site.user();
    let event = Event::timed("x", site.world.now(), TimeDelta::hours(1));
    let event = site.world.add_event(user.id, "primary", event).expect("added");
    let news = receiver.next().await;
    assert_eq!(
        (header(&news, "x-goog-resource-state"), header(&news, "x-goog-message-number")),
        ("exists", "2")
    );

    assert_eq!(site.world.channels(user.id).expect("ok").len(), 1);
    let stop = json!({"id": "c-1", "resourceId": opened["resourceId"]});
    assert_eq!(api.post(STOP, stop.clone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.post(STOP, stop).await.status, StatusCode::NOT_FOUND);
    assert!(site.world.channels(user.id).expect("ok").is_empty());
    site.world.delete_event(user.id, "primary", &event.id).expect("deleted");
    // The sync message of a second channel comes after every notification of the first.
    api.post(WATCH, channel("c-2", &receiver.address)).await.ok();
    assert_eq!(header(&receiver.next().await, "x-goog-channel-id"), "c-2");
    assert!(receiver.quiet());
}

#[tokio::test]
async fn an_expired_channel_is_neither_told_nor_stopped() {
    let site = Site::open();
    let api = site.calendar().await;
    let receiver = Receiver::open().await;
    let mut body = channel("c-1", &receiver.address);
    body["params"] = json!({"ttl": "60"});
    let opened = api.post(WATCH, body).await.ok();
    site.time.pass(TimeDelta::minutes(2));
    assert!(site.world.channels(site.user().id).expect("ok").is_empty());
    let stop = json!({"id": "c-1", "resourceId": opened["resourceId"]});
    assert_eq!(api.post(STOP, stop).await.status, StatusCode::NOT_FOUND);
    // Its id is free again.
    api.post(WATCH, channel("c-1", &receiver.address)).await.ok();
}

#[tokio::test]
async fn bad_channels_are_refused_with_their_reason() {
    let site = Site::open();
    let api = site.calendar().await;
    let good = "https://app.example.test/hook";
    api.post(WATCH, channel("taken", good)).await.ok();
    let mut odd = channel("c", good);
    odd["type"] = json!("email");
    for (body, reason) in [
        (channel("taken", good), "channelIdNotUnique"),
        (channel("white space", good), "channelIdInvalid"),
        (channel(&"x".repeat(65), good), "channelIdInvalid"),
        (channel("c", "http://app.example.test/hook"), "push.webhookUrlNotHttps"),
        (json!({"type": "web_hook", "address": good}), "required"),
        (odd, "channelUnknown"),
    ] {
        let answer = api.post(WATCH, body).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::BAD_REQUEST, reason));
    }
}

#[tokio::test]
async fn a_silenced_channel_swallows_what_happens_and_another_one_tells() {
    let site = Site::open();
    let api = site.calendar().await;
    let user = site.user();
    let mut receiver = Receiver::open().await;
    let at = |path: &str| format!("/users/{}/channels{path}", user.email);
    let expiration = site.world.now() + TimeDelta::days(1);
    let old = json!({"id": "old", "address": receiver.address, "token": "secret", "expiration": expiration});
    let old = site.admin(Method::POST, &at(""), Some(old)).await.ok();
    assert!(receiver.quiet(), "it said its hello long ago");
    let event = || Event::timed("x", site.world.now(), TimeDelta::hours(1));
    site.world.add_event(user.id, "primary", event()).expect("added");
    assert_eq!(header(&receiver.next().await, "x-goog-message-number"), "2");

    assert_eq!(site.admin(Method::POST, &at("/silence"), None).await.ok()["silenced"], 1);
    assert_eq!(site.admin(Method::POST, &at("/silence"), None).await.ok()["silenced"], 0);
    site.world.add_event(user.id, "primary", event()).expect("added");
    let opened = api.post(WATCH, channel("new", &receiver.address)).await.ok();
    assert_eq!(opened["resourceId"], old["resourceId"]);
    // Every notification of the old channel comes before the sync message of the new one.
    assert_eq!(header(&receiver.next().await, "x-goog-channel-id"), "new");
    site.world.add_event(user.id, "primary", event()).expect("added");
    assert_eq!(header(&receiver.next().await, "x-goog-channel-id"), "new");
    let channels = site.admin(Method::GET, &at(""), None).await.ok();
    assert_eq!((&channels[0]["silent"], &channels[1]["silent"]), (&json!(true), &json!(false)));
    assert!(receiver.quiet());
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_was_obeyed() {
    let site = Site::open();
    let api = site.calendar().await;
    site.world.inject(Fault::new(FaultKind::AnswerLost).call(Call::EventsWatch));
    assert!(api.try_post(WATCH, channel("c", "https://app.example.test/hook")).await.is_err());
    assert_eq!(site.world.channels(site.user().id).expect("ok").len(), 1);
    assert_eq!(site.world.recent_calls(site.user().id).last(), Some(&Call::EventsWatch));
}
