//! `events.watch` and `channels.stop`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::dice::mix;
use crate::push::{Channel, is_plain_loopback};
use crate::refusal::Refusal;
use crate::state::{State, Unknown};
use crate::world::World;

const LONGEST_ID: usize = 64;
const LONGEST_TOKEN: usize = 256;
/// Calendar grants a week unless asked for another time, and never more than a month.
const DEFAULT_LIFETIME: TimeDelta = TimeDelta::days(7);
const LONGEST_LIFETIME: TimeDelta = TimeDelta::days(30);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WatchBody {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    address: Option<String>,
    token: Option<String>,
    /// Milliseconds of Unix time, as a string or a number.
    expiration: Option<StringOrNumber>,
    #[serde(default)]
    params: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum StringOrNumber {
    String(String),
    Number(i64),
}

pub(crate) fn watch(
    state: &mut State,
    user: Uuid,
    calendar_id: &str,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Response, Refusal> {
    let body: WatchBody = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request("global", "parseError", "Parse Error"))?;
    let id = required(body.id, "entity.id")?;
    let address = required(body.address, "entity.address")?;
    if body.kind.as_deref() != Some("web_hook") {
        let message = format!("Unknown channel type: {}", body.kind.unwrap_or_default());
        return Err(Refusal::bad_request("push", "channelUnknown", message));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+/=".contains(c);
    if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(allowed) {
        return Err(Refusal::bad_request("push", "channelIdInvalid", "Invalid channel id"));
    }
    if body.token.as_ref().is_some_and(|token| token.len() > LONGEST_TOKEN) {
        return Err(Refusal::bad_request("push", "channelTokenTooLong", "Channel token too long"));
    }
    if !is_https(&address) && !is_plain_loopback(&address) {
        let message = format!("WebHook callback must be HTTPS: {address}");
        return Err(Refusal::bad_request("push", "push.webhookUrlNotHttps", message));
    }
    // Closed channels are gone from the list; Google remembers an id only while its channel lives.
    let known = |channel: &Channel| channel.id == id && channel.expiration > now;
    if state.accounts.iter().flat_map(|account| &account.channels).any(known) {
        let message = format!("Channel id {id} not unique");
        return Err(Refusal::bad_request("global", "channelIdNotUnique", message));
    }
    let expiration = expiration(body.expiration, &body.params, now)?;
    let account = state.account_mut(user).map_err(|_| Refusal::unauthorized())?;
    let calendar_state =
        account.calendar_state(calendar_id).ok_or_else(|| Refusal::not_found("Not Found"))?;
    let calendar_id = calendar_state.calendar.id.clone();
    let mut channel = Channel {
        resource_id: resource_id(user, &calendar_id),
        resource_uri: resource_uri(&calendar_id),
        id,
        calendar_id,
        address,
        token: body.token,
        expiration,
        message_number: 0,
        silent: false,
    };
    let mut answer = json!({
        "kind": "api#channel",
        "id": channel.id,
        "resourceId": channel.resource_id,
        "resourceUri": channel.resource_uri,
        "expiration": channel.expiration.timestamp_millis().to_string(),
    });
    if let Some(token) = &channel.token {
        answer["token"] = json!(token);
    }
    let hello = channel.next_notification("sync");
    account.channels.retain(|channel| channel.expiration > now);
    account.channels.push(channel);
    state.outbox.push_back(hello);
    Ok(axum::Json(answer).into_response())
}

impl World {
    /// Opens a channel on the user's primary calendar as one that said its hello long ago: for worlds in which the
    /// application has channels already.
    pub fn open_channel(
        &self,
        user: Uuid,
        id: &str,
        address: &str,
        token: &str,
        expiration: DateTime<Utc>,
    ) -> Result<Channel, Unknown> {
        self.with(|state| {
            let account = state.account_mut(user)?;
            let calendar_id = account.calendar_state("primary").ok_or(Unknown::Calendar)?.calendar.id.clone();
            let channel = Channel {
                id: id.to_owned(),
                resource_id: resource_id(user, &calendar_id),
                resource_uri: resource_uri(&calendar_id),
                calendar_id,
                address: address.to_owned(),
                token: Some(token.to_owned()),
                expiration,
                message_number: 1,
                silent: false,
            };
            account.channels.push(channel.clone());
            Ok(channel)
        })
    }

    /// Breaks all channels that the user has now, without telling anybody. Says how many there were.
    pub fn silence_channels(&self, user: Uuid) -> Result<usize, Unknown> {
        let now = self.now();
        self.with(|state| {
            let speaking = |channel: &&mut Channel| channel.expiration > now && !channel.silent;
            let channels = state.account_mut(user)?.channels.iter_mut().filter(speaking);
            Ok(channels.map(|channel| channel.silent = true).count())
        })
    }
}

fn required(value: Option<String>, name: &str) -> Result<String, Refusal> {
    value.ok_or_else(|| Refusal::bad_request("global", "required", format!("Required: {name}")))
}

fn is_https(address: &str) -> bool {
    url::Url::parse(address).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

fn expiration(
    asked: Option<StringOrNumber>,
    params: &BTreeMap<String, String>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Refusal> {
    let invalid = || Refusal::bad_request("global", "invalid", "Invalid Value");
    let asked = match asked {
        Some(StringOrNumber::String(text)) => Some(text.parse::<i64>().map_err(|_| invalid())?),
        Some(StringOrNumber::Number(number)) => Some(number),
        None => None,
    };
    let asked = match (asked, params.get("ttl")) {
        (Some(millis), _) => Some(DateTime::from_timestamp_millis(millis).ok_or_else(invalid)?),
        (None, Some(seconds)) => {
            let seconds = seconds.parse().ok().and_then(TimeDelta::try_seconds).ok_or_else(invalid)?;
            Some(now.checked_add_signed(seconds).ok_or_else(invalid)?)
        }
        (None, None) => None,
    };
    if asked.is_some_and(|at| at <= now) {
        return Err(invalid());
    }
    Ok(asked.unwrap_or(now + DEFAULT_LIFETIME).min(now + LONGEST_LIFETIME))
}

/// The same for every channel on this calendar.
fn resource_id(user: Uuid, calendar_id: &str) -> String {
    let (high, low) = user.as_u64_pair();
    let seed = calendar_id.bytes().fold(mix(high, low), |hash, byte| mix(hash, u64::from(byte)));
    format!("{seed:016x}")
}

fn resource_uri(calendar_id: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(calendar_id.as_bytes()).collect();
    format!("https://www.googleapis.com/calendar/v3/calendars/{id}/events?alt=json")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StopBody {
    id: Option<String>,
    resource_id: Option<String>,
}

pub(crate) fn stop(
    state: &mut State,
    user: Uuid,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Response, Refusal> {
    let body: StopBody = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request("global", "parseError", "Parse Error"))?;
    let id = required(body.id, "entity.id")?;
    let resource_id = required(body.resource_id, "entity.resourceId")?;
    let account = state.account_mut(user).map_err(|_| Refusal::unauthorized())?;
    let open = |channel: &Channel| channel.expiration > now;
    let before = account.channels.iter().filter(|channel| open(channel)).count();
    account
        .channels
        .retain(|channel| open(channel) && (channel.id != id || channel.resource_id != resource_id));
    if account.channels.len() == before {
        return Err(Refusal::not_found(format!("Channel '{id}' not found for project 'stand-in'")));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
