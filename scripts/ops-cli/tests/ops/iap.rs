//! The console behind Identity-Aware Proxy, asked as the proxy asks it, and as no one may.

use std::io::Read as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Json, Router};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use local_cloud::Background;
use reqwest::StatusCode;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use shared::clock::Clock;

use crate::console::{self, TIMEOUT, hidden};
use crate::operator::System;

const AUDIENCE: &str = "/projects/1/global/backendServices/2";

/// A key pair with its id.
struct Key {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { id, pair }
    }

    fn public(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kid": self.id, "kty": "EC", "alg": "ES256", "crv": "P-256", "x": text(x), "y": text(y) })
    }

    fn assertion(&self, head: &Value, claims: &Value) -> String {
        let text = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", text(head), text(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// As the proxy signs it.
    fn of(&self, email: &str) -> String {
        self.assertion(&json!({ "alg": "ES256", "typ": "JWT", "kid": self.id }), &claims(email))
    }
}

fn claims(email: &str) -> Value {
    let now = Clock::system().now().timestamp();
    json!({
        "iss": "https://cloud.google.com/iap", "aud": AUDIENCE, "sub": "accounts.google.com:1", "email": email,
        "iat": now, "exp": now + 600,
    })
}

/// Google's public keys, and how often they were asked for.
struct Keys {
    server: Background,
    keys: Arc<Mutex<(Vec<Value>, u32)>>,
}

impl Keys {
    fn serve(key: &Key) -> Self {
        let keys = Arc::new(Mutex::new((vec![key.public()], 0)));
        let published = Arc::clone(&keys);
        let server = Background::start("keys", |listener| async move {
            let answer = move || {
                let mut published = published.lock().unwrap();
                published.1 += 1;
                let answer = json!({ "keys": published.0 });
                async move { Json(answer) }
            };
            axum::serve(listener, Router::new().route("/keys", get(answer))).await
        });
        Self { server: server.unwrap(), keys }
    }
}

/// A console that trusts these keys.
struct Console(console::Console);

impl Console {
    fn start(system: &System, keys: &Keys) -> Self {
        let url = format!("{}/keys", keys.server.url());
        let people = ["--iap-operators", "operator@example.test", "--iap-personal", "Personal@example.test"];
        let options = [&["--iap-audience", AUDIENCE, "--iap-keys", &url][..], &people].concat();
        let (process, address) = console::serve(&system.environment(), &options, Stdio::piped());
        let origin = address.strip_suffix("/ (behind Identity-Aware Proxy)");
        let origin = origin.unwrap_or_else(|| panic!("{address}")).to_owned();
        let cookie = String::new();
        Self(console::Console { process, origin, cookie, http: shared::http::client(TIMEOUT, TIMEOUT) })
    }

    async fn get(&self, path: &str, assertion: &str) -> (StatusCode, String) {
        let request = self.0.http.get(format!("{}{path}", self.0.origin));
        let response = request.header("x-goog-iap-jwt-assertion", assertion).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Sends a form with these fields; the origin is that of a page behind the proxy.
    async fn post(&self, path: &str, assertion: &str, fields: &[(String, String)]) -> (StatusCode, String) {
        let request = self.0.http.post(format!("{}{path}", self.0.origin)).form(fields);
        let request = request.header("x-goog-iap-jwt-assertion", assertion);
        let request = request.header("origin", self.0.origin.replace("http://", "https://"));
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Ends it, and returns what it logged.
    fn log(mut self) -> String {
        self.0.process.kill().unwrap();
        let mut log = String::new();
        self.0.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_one_gets_in_without_an_assertion_that_is_genuine_and_meant_for_this_console() {
    let system = System::start().await;
    let (key, forger) = (Key::new("first"), Key::new("first"));
    let keys = Keys::serve(&key);
    let console = Console::start(&system, &keys);
    let reader = "reader@example.test";
    let head = |alg: &str, kid: &str| json!({ "alg": alg, "typ": "JWT", "kid": kid });
    let with = |name: &str, value: Value| {
        let mut claims = claims(reader);
        claims[name] = value;
        key.assertion(&head("ES256", "first"), &claims)
    };
    let now = Clock::system().now().timestamp();
    let genuine = key.of(reader);
    let unsigned = format!("{}.", genuine.rsplit_once('.').unwrap().0);
    let none = key.assertion(&head("none", "first"), &claims(reader));
    for (assertion, why) in [
        (String::new(), "is malformed"),
        ("a.b".to_owned(), "is malformed"),
        ("x".repeat(20_000), "is malformed"),
        (forger.of(reader), "has another signature"),
        (unsigned, "has another signature"),
        (format!("{}.", none.rsplit_once('.').unwrap().0), "has another algorithm"),
        (key.assertion(&head("HS256", "first"), &claims(reader)), "has another algorithm"),
        (key.assertion(&head("ES256", "second"), &claims(reader)), "names an unknown key"),
        (with("aud", json!("/projects/1/global/backendServices/3")), "is for another audience"),
        (with("iss", json!("https://accounts.google.com")), "is of another issuer"),
        (with("exp", json!(now - 31)), "has expired"),
        (with("iat", json!(now + 90)), "is not yet valid"),
        (with("email", json!("")), "names no one"),
    ] {
        for path in ["/", "/errors?json", "/search?q=token-refresh"] {
            let (status, text) = console.get(path, &assertion).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{why}: {text}");
            assert!(text.contains(&format!("The assertion of Identity-Aware Proxy {why}.")), "{why}: {text}");
        }
    }
    let without = console.0.http.get(format!("{}/errors", console.0.origin)).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::FORBIDDEN);
    let twice = console.0.http.get(format!("{}/errors", console.0.origin));
    let twice =
        twice.header("x-goog-iap-jwt-assertion", &genuine).header("x-goog-iap-jwt-assertion", &genuine);
    assert_eq!(twice.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    // What only says who is there is not believed.
    let named = console.0.http.get(format!("{}/errors", console.0.origin));
    let named = named.header("x-goog-authenticated-user-email", "accounts.google.com:operator@example.test");
    assert_eq!(named.send().await.unwrap().status(), StatusCode::FORBIDDEN);

    // Clocks differ by seconds.
    for skewed in [with("exp", json!(now - 15)), with("iat", json!(now + 15)), genuine.clone()] {
        assert_eq!(console.get("/errors", &skewed).await.0, StatusCode::OK);
    }
    // Made-up keys were asked for once, or twice if this took long.
    assert!(keys.keys.lock().unwrap().1 <= 3, "{} requests", keys.keys.lock().unwrap().1);
    let log = console.log();
    assert!(log.contains("console: refused: The assertion of Identity-Aware Proxy has expired."), "{log}");
    let parts = genuine.split('.').chain(["reader@", "Bearer"]);
    for part in parts {
        assert!(!log.contains(part), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_act_is_configured_and_the_action_is_theirs() {
    let system = System::start().await;
    system.fail(1).await;
    let key = Key::new("first");
    let keys = Keys::serve(&key);
    let console = Console::start(&system, &keys);
    let (reader, operator, personal) =
        (key.of("reader@example.test"), key.of("Operator@example.test"), key.of("personal@example.test"));
    let rows: Vec<(String,)> = system.stack.rows("SELECT id FROM jobs.dead_letters").await;
    let letter = format!("/dead-letters/{}", rows[0].0);
    for (assertion, sees) in [(&reader, false), (&operator, false), (&personal, true)] {
        let (_, page) = console.get(&letter, assertion).await;
        assert_eq!(page.contains("&#34;n&#34;:1"), sees, "{page}");
    }
    let path = "/queues/token-refresh";
    assert!(!console.get(path, &reader).await.1.contains("method=\"post\""));
    let form = hidden(&console.get(path, &operator).await.1);
    // The form of another person, and no right to send one.
    for assertion in [&reader, &personal] {
        assert_eq!(console.post(path, assertion, &form).await.0, StatusCode::FORBIDDEN);
    }
    let (status, text) = console.post(path, &operator, &form).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{text}");
    let actions: Vec<(String, String, String)> =
        system.stack.rows("SELECT who, via, action FROM jobs.operator_actions").await;
    let expected = ("operator@example.test".to_owned(), "console".to_owned(), "pause".to_owned());
    assert_eq!(actions, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_googles_or_on_loopback() {
    let system = System::start().await;
    let arguments =
        ["console", "--port", "0", "--iap-audience", AUDIENCE, "--iap-keys", "https://example.test/keys"];
    let said = system.ops(&arguments);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("the keys are those of https://www.gstatic.com/iap/verify/public_key-jwk"),
        "{said:?}"
    );
    let said = system.ops(&["console", "--port", "0", "--iap-operators", "a@example.test"]);
    assert_eq!(said.code, 2, "{said:?}");
}
