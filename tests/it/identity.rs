//! Who may call.

use serde_json::{Value, json};
use shared::clock::Clock;
use shared::job::Outcome;
use tests::issuer::{Key, sign, unsigned};
use tests::probe::Numbered;
use tests::stack::Service;
use tests::{Delivery, Probe, Stack};

struct Forge<'a> {
    stack: &'a Stack,
    service: &'a Service,
}

impl Forge<'_> {
    fn header(&self) -> Value {
        json!({ "alg": "RS256", "kid": self.stack.issuer.key().id, "typ": "JWT" })
    }

    fn honest(&self) -> String {
        self.stack.issuer.token(&self.service.audience)
    }

    /// An honest token but for these claims.
    fn with(&self, claims: &Value) -> String {
        let mut all = self.stack.issuer.claims(&self.service.audience);
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        sign(&self.header(), &all, &self.stack.issuer.key())
    }

    /// A token with the honest claims and another header, signed by whatever.
    fn headed(&self, header: &Value, key: &Key) -> String {
        sign(header, &self.stack.issuer.claims(&self.service.audience), key)
    }

    /// HS256 with what everybody knows as the secret: the public key.
    fn hmac_with_the_public_key(&self) -> String {
        use aws_lc_rs::hmac;
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let key = self.stack.issuer.key();
        let header = json!({ "alg": "HS256", "kid": key.id, "typ": "JWT" });
        let message = unsigned(&header, &self.stack.issuer.claims(&self.service.audience));
        let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public().as_bytes());
        let signature = hmac::sign(&secret, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_refused_before_anything_is_touched() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(|| Ok(Outcome::Done(json!(1))));
    let service = stack.service(probe.clone());
    let forge = Forge { stack: &stack, service: &service };
    let (honest, now) = (forge.honest(), Clock::system().now().timestamp());
    let none = unsigned(&json!({ "alg": "none", "typ": "JWT" }), &stack.issuer.claims(&service.audience));
    let cases = [
        ("alg none", format!("{none}."), 401),
        ("HS256 with the public key", forge.hmac_with_the_public_key(), 401),
        (
            "wrong kid",
            forge.headed(&json!({ "alg": "RS256", "kid": "unheard-of" }), &stack.issuer.key()),
            401,
        ),
        ("other issuer", forge.with(&json!({ "iss": "https://accounts.example.com" })), 401),
        ("other audience", forge.with(&json!({ "aud": "https://example.com" })), 401),
        ("expired", forge.with(&json!({ "iat": now - 7200, "exp": now - 3600 })), 401),
        ("not yet valid", forge.with(&json!({ "nbf": now + 3600 })), 401),
        ("issued in the future", forge.with(&json!({ "iat": now + 3600, "exp": now + 7200 })), 401),
        ("other e-mail", forge.with(&json!({ "email": "mallory@example.com" })), 403),
        ("unverified e-mail", forge.with(&json!({ "email_verified": false })), 403),
        ("no signature", honest.rsplit_once('.').unwrap().0.to_owned() + ".", 401),
        ("truncated", honest[..honest.len() - 10].to_owned(), 401),
        ("other key", forge.headed(&forge.header(), &Key::generate("other")), 401),
        ("no kid", forge.headed(&json!({ "alg": "RS256" }), &stack.issuer.key()), 401),
        ("no token", String::new(), 401),
        ("endless", format!("{honest}{}", "A".repeat(100_000)), 401),
    ];
    for (name, token, status) in cases {
        let mut delivery = Delivery::new(r#"{"data":{"n":1}}"#);
        delivery.authorization = Some(format!("Bearer {token}"));
        let answer = service.deliver(delivery).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    let mut delivery = Delivery::new(r#"{"data":{"n":1}}"#);
    delivery.authorization = Some("Basic dXNlcjpwYXNz".to_owned());
    assert_eq!(service.deliver(delivery).await.status, 401);
    assert_eq!(probe.runs(), 0);
    assert_eq!(stack.billing.bill().billed, 0, "Redis was not asked");
    assert_eq!(stack.dead_letters().await, [], "Postgres was not written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_issuer_rotated_in_is_accepted() {
    let stack = Stack::start().await;
    let service = stack.service(Probe::<Numbered>::answering(|| Ok(Outcome::Done(json!(1)))));
    let deliver = |token: String| {
        let mut delivery = Delivery::new(r#"{"data":{"n":1}}"#);
        delivery.authorization = Some(format!("Bearer {token}"));
        service.deliver(delivery)
    };
    assert_eq!(deliver(stack.issuer.token(&service.audience)).await.status, 200);
    stack.issuer.rotate();
    // Made-up key ids must not turn into requests to the issuer: it is asked at most once in ten seconds.
    assert_eq!(deliver(stack.issuer.token(&service.audience)).await.status, 401);
    stack.advance(11);
    assert_eq!(deliver(stack.issuer.token(&service.audience)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_issuer_cannot_be_asked_the_queue_waits() {
    let stack = Stack::start().await;
    let probe = Probe::<Numbered>::answering(|| Ok(Outcome::Done(json!(1))));
    let service = stack.service_with(probe, [("OIDC_JWKS_URL", "http://127.0.0.1:1/jwks".to_owned())]);
    let answer = service.deliver(Delivery::new(r#"{"data":{"n":1}}"#)).await;
    assert_eq!((answer.status, answer.reason()), (503, "oidc_keys"));
    assert!(answer.retry_after.is_some());
}
