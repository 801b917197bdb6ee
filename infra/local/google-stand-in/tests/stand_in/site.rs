//! A stand-in on a port of its own, with a world and a time of its own, and a caller that speaks plain HTTP to it.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use google_stand_in::{Clock, Config, Integration, SeedOptions, User, World};
use local_cloud::Background;
use reqwest::{Client, Method, header};
use serde_json::Value;
use tests::http::Answer;

/// A clock that stands still until it is advanced.
#[derive(Debug, Clone)]
pub(crate) struct Time(Arc<Mutex<DateTime<Utc>>>);

impl Time {
    pub(crate) fn start() -> Self {
        let start = Utc.with_ymd_and_hms(2026, 3, 20, 10, 30, 0).single().expect("a time");
        Self(Arc::new(Mutex::new(start)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::new(move || *time.0.lock().expect("time"))
    }

    pub(crate) fn pass(&self, by: TimeDelta) {
        *self.0.lock().expect("time") += by;
    }
}

/// A world that is made fast: few users, small books.
pub(crate) fn small(time: &Time) -> SeedOptions {
    SeedOptions { seed: 7, users: 12, max_contacts: 120, clock: time.clock(), ..SeedOptions::default() }
}

/// Why Google refused.
pub(crate) trait Refusal {
    /// `error.errors[0].reason` of Calendar.
    fn reason(&self) -> &str;

    /// The `ErrorInfo` reason of People.
    fn info(&self) -> &str;
}

impl Refusal for Answer {
    fn reason(&self) -> &str {
        self.body["error"]["errors"][0]["reason"].as_str().unwrap_or_default()
    }

    fn info(&self) -> &str {
        self.body["error"]["details"][0]["reason"].as_str().unwrap_or_default()
    }
}

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) time: Time,
    pub(crate) base: String,
    http: Client,
    _server: Background,
}

impl Site {
    pub(crate) fn open() -> Self {
        let time = Time::start();
        let world = World::seeded(small(&time));
        Self::open_with(world, time)
    }

    pub(crate) fn open_with(world: World, time: Time) -> Self {
        let server = tests::google::serve(&world);
        Self { world, time, base: server.url(), http: tests::http::client(), _server: server }
    }

    /// The first user: both integrations work.
    pub(crate) fn user(&self) -> User {
        self.world.users().swap_remove(0)
    }

    /// A good access token of the first user.
    pub(crate) async fn token(&self, integration: Integration) -> String {
        let grant = self.user().grant(integration).cloned().expect("a grant");
        let body = self.refresh(&grant.refresh_token.expect("a refresh token")).await.ok();
        body["access_token"].as_str().expect("an access token").to_owned()
    }

    pub(crate) async fn calendar(&self) -> Api<'_> {
        Api { site: self, token: self.token(Integration::GoogleCalendar).await }
    }

    pub(crate) async fn contacts(&self) -> Api<'_> {
        Api { site: self, token: self.token(Integration::GoogleContacts).await }
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let config = Config::default();
        self.form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &config.client_id),
            ("client_secret", &config.client_secret),
            ("refresh_token", refresh_token),
        ])
        .await
    }

    pub(crate) async fn form(&self, fields: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}/token", self.base)).form(fields);
        Answer::of(request).await.expect("an answer")
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.http.request(method, format!("{}/admin{path}", self.base));
        let request = match body {
            Some(body) => request.json(&body),
            None => request.header(header::CONTENT_TYPE, "application/json"),
        };
        Answer::of(request).await.expect("an answer")
    }
}

/// Calls with a token.
pub(crate) struct Api<'a> {
    pub(crate) site: &'a Site,
    pub(crate) token: String,
}

impl Api<'_> {
    pub(crate) async fn try_get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let request = self.site.http.get(format!("{}{path}", self.site.base)).query(query);
        Answer::of(request.bearer_auth(&self.token)).await
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.try_get(path, query).await.expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.try_post(path, body).await.expect("an answer")
    }

    pub(crate) async fn try_post(&self, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        let request = self.site.http.post(format!("{}{path}", self.site.base)).json(&body);
        Answer::of(request.bearer_auth(&self.token)).await
    }

    /// All pages of a list: the items under `key`, how many pages there were, and the last page.
    pub(crate) async fn all(
        &self,
        path: &str,
        key: &str,
        query: &[(&str, &str)],
    ) -> (Vec<Value>, usize, Value) {
        let (mut items, mut pages) = (Vec::new(), 0);
        let mut next: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            if let Some(token) = &next {
                query.push(("pageToken", token));
            }
            let mut page = self.get(path, &query).await.ok();
            pages += 1;
            if let Value::Array(more) = page[key].take() {
                items.extend(more);
            }
            match page["nextPageToken"].as_str() {
                Some(token) => {
                    assert!(page["nextSyncToken"].is_null(), "a sync token before the last page");
                    next = Some(token.to_owned());
                }
                None => return (items, pages, page),
            }
        }
    }
}

/// The values under `key`, sorted.
pub(crate) fn sorted(items: &[Value], key: &str) -> Vec<String> {
    let mut values: Vec<String> = items.iter().map(|item| text(item, key)).collect();
    values.sort_unstable();
    values
}

#[track_caller]
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}
