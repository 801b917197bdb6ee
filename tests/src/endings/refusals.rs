//! Requests that are no tasks, or never reach an instance.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use shared::clock::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Row;
use super::lane::QUEUE;
use super::stage::{Stage, envelope, task};
use crate::Delivery;
use crate::acting::Act;
use crate::issuer::{Key, sign};

/// More than Cloud Tasks carries.
const TOO_MUCH: usize = 1_048_576;
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

pub(super) fn rows() -> Vec<Row> {
    let a_right_token = "a right configuration of the queue; else Cloud Tasks, after 31 days";
    vec![
        Row::new(
            "there is no instance, or none that answers",
            "an instance that answers; else Cloud Tasks, after 31 days",
            |stage| Box::pin(no_instance(stage)),
        ),
        Row::new(
            "the identity token is missing, forged, expired or for another audience",
            a_right_token,
            |stage| Box::pin(unauthorized(stage)),
        ),
        Row::new("the identity token belongs to a caller that is not allowed", a_right_token, |stage| {
            Box::pin(forbidden(stage))
        }),
        Row::new(
            "the body is larger than a task can be",
            "Cloud Tasks, after 31 days: it creates no such task",
            |stage| Box::pin(too_large(stage)),
        ),
        Row::new("the body breaks off", "the next dispatch", |stage| Box::pin(breaks_off(stage))),
    ]
}

async fn no_instance(stage: &mut Stage<'_>) {
    let delivery = task(&[Act::Succeed]);
    let nowhere = stage.dispatcher().to(NOWHERE);
    for retry in 0..3 {
        let answer = nowhere.dispatch(&delivery.clone().again(retry)).await;
        stage.saw(answer.as_ref());
    }
    stage.waits_for_backoff(stage.lane.commands());
    stage.follow(delivery.again(3)).await;
}

async fn unauthorized(stage: &mut Stage<'_>) {
    let (issuer, audience) = (&stage.lane.stack.issuer, stage.audience());
    let (key, now) = (issuer.key(), Clock::system().now().timestamp());
    let header = json!({ "alg": "RS256", "kid": key.id, "typ": "JWT" });
    let with_claim = |name: &str, value: Value| {
        let mut claims = issuer.claims(&audience);
        claims[name] = value;
        sign(&header, &claims, &key)
    };
    let with_header = |header: Value, key: &Key| sign(&header, &issuer.claims(&audience), key);
    let tokens = [
        None,
        Some("rubbish".to_owned()),
        Some(with_header(json!({ "alg": "HS256", "kid": key.id }), &key)),
        Some(with_header(json!({ "alg": "RS256" }), &key)),
        Some(with_header(json!({ "alg": "RS256", "kid": "unknown" }), &key)),
        Some(with_header(header.clone(), &Key::generate("another"))),
        Some(with_claim("exp", json!(now - 3600))),
        Some(with_claim("iat", json!(now + 3600))),
        Some(with_claim("iss", json!("https://issuer.example.com"))),
        Some(with_claim("aud", json!("https://service.example.com"))),
    ];
    let before = stage.lane.commands();
    for token in tokens {
        let authorization = Some(token.map(|token| format!("Bearer {token}")).unwrap_or_default());
        stage.dispatch(&Delivery { authorization, ..task(&[Act::Succeed]) }).await;
    }
    stage.waits_for_backoff(stage.lane.commands() - before);
}

async fn forbidden(stage: &mut Stage<'_>) {
    let issuer = &stage.lane.stack.issuer;
    let mut claims = issuer.claims(&stage.audience());
    claims["email"] = json!("another@example.com");
    let token = sign(&json!({ "alg": "RS256", "kid": issuer.key().id }), &claims, &issuer.key());
    let authorization = Some(format!("Bearer {token}"));
    let (_, commands) = stage.measured(&Delivery { authorization, ..task(&[Act::Succeed]) }).await;
    stage.waits_for_backoff(commands);
}

async fn too_large(stage: &mut Stage<'_>) {
    let delivery = envelope(&json!({ "acts": [] }), &json!({ "padding": "x".repeat(TOO_MUCH) }));
    // The answer may be lost, since it comes before the whole body is sent.
    stage.dispatcher().dispatch(&delivery).await;
    stage.saw_line(&delivery.task, "refused").await;
    stage.waits_for_backoff(stage.lane.commands());
}

async fn breaks_off(stage: &mut Stage<'_>) {
    let (delivery, dispatcher) = (task(&[Act::Succeed]), stage.dispatcher());
    let headers = delivery.headers(QUEUE).map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n{headers}content-length: {}\r\n\r\n",
        QUEUE.path(),
        dispatcher.token(),
        delivery.body.len(),
    );
    let mut caller = TcpStream::connect(dispatcher.address()).await.expect("the function listens");
    caller.write_all(head.as_bytes()).await.expect("the function reads");
    caller.write_all(&delivery.body.as_bytes()[..10]).await.expect("the function reads");
    drop(caller);
    stage.saw_line(&delivery.task, "refused").await;
    stage.follow(delivery.again(1)).await;
}
