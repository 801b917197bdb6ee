//! `contactGroups.list`.

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address_book::GroupRecord;
use crate::opaque::{open, seal};
use crate::people_list::{SYNC_TOKEN_LIFETIME, page_size};
use crate::person::GroupType;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::state::State;

const DEFAULT_PAGE: usize = 30;
const GROUP_FIELDS: &[&str] = &["clientData", "groupType", "memberCount", "metadata", "name"];
/// The mask when none is given (People reference, contactGroups.list).
const DEFAULT_FIELDS: &str = "metadata,groupType,memberCount,name";

#[derive(Debug, Serialize, Deserialize)]
struct SyncToken {
    groups_sync: Uuid,
    born: DateTime<Utc>,
    epoch: u64,
    issued_at: DateTime<Utc>,
    revision: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct PageToken {
    groups_page: Uuid,
    epoch: u64,
    revision: u64,
    /// How many groups were passed; none ever leaves its place.
    passed: usize,
    sync_token: Option<String>,
}

pub(crate) fn list(
    state: &State,
    user: Uuid,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<Response, Refusal> {
    let book = &state.account(user).map_err(|_| Refusal::unauthorized())?.book;
    let size = page_size(query, DEFAULT_PAGE)?;
    let fields: Vec<&str> =
        query.text("groupFields").unwrap_or(DEFAULT_FIELDS).split(',').map(str::trim).collect();
    if let Some(path) = fields.iter().find(|path| !GROUP_FIELDS.contains(path)) {
        return Err(Refusal::invalid("groupFields", format!("Invalid groupFields mask path: \"{path}\".")));
    }
    let sync_token = query.text("syncToken").map(str::to_owned);
    let since = match &sync_token {
        None => None,
        Some(text) => {
            let token = open::<SyncToken>(text)
                .filter(|token| token.groups_sync == user)
                .ok_or_else(|| Refusal::invalid("syncToken", "Sync token is invalid."))?;
            let expired = token.issued_at + SYNC_TOKEN_LIFETIME <= now;
            if expired || (token.born, token.epoch) != (state.born, book.epoch) {
                return Err(Refusal::expired_sync_token());
            }
            Some(token.revision)
        }
    };
    let page = match query.text("pageToken") {
        None => {
            PageToken { groups_page: user, epoch: book.epoch, revision: book.revision, passed: 0, sync_token }
        }
        Some(text) => open::<PageToken>(text)
            .filter(|page| {
                page.groups_page == user && page.epoch == book.epoch && page.sync_token == sync_token
            })
            .ok_or_else(|| Refusal::invalid("pageToken", "Page token is invalid."))?,
    };
    let wanted = |record: &GroupRecord| match since {
        Some(revision) => record.revision > revision,
        None => !record.deleted,
    };
    let mut rows: Vec<(usize, &GroupRecord)> =
        book.groups.iter().enumerate().skip(page.passed).filter(|(_, record)| wanted(record)).collect();
    let more = rows.len() > size;
    rows.truncate(size);

    let mut body = json!({});
    if !rows.is_empty() {
        body["contactGroups"] = rows.iter().map(|(_, record)| wire(record, &fields)).collect();
    }
    if since.is_none() {
        body["totalItems"] = json!(book.live_groups().count());
    }
    if more && let Some((last, _)) = rows.last() {
        body["nextPageToken"] = json!(seal(&PageToken { passed: last + 1, ..page }));
    } else {
        let token = SyncToken {
            groups_sync: user,
            born: state.born,
            epoch: book.epoch,
            issued_at: now,
            revision: page.revision,
        };
        body["nextSyncToken"] = json!(seal(&token));
    }
    Ok(axum::Json(body).into_response())
}

fn wire(record: &GroupRecord, fields: &[&str]) -> Value {
    let group = &record.group;
    let mut body = json!({"resourceName": group.resource_name, "etag": group.etag});
    if fields.contains(&"metadata") {
        let mut metadata = json!({"updateTime": record.updated.to_rfc3339_opts(SecondsFormat::Micros, true)});
        if record.deleted {
            metadata["deleted"] = json!(true);
        }
        body["metadata"] = metadata;
    }
    if record.deleted {
        return body;
    }
    if fields.contains(&"groupType") {
        body["groupType"] = json!(group.group_type);
    }
    // Google leaves a count of zero out.
    if fields.contains(&"memberCount") && group.member_count > 0 {
        body["memberCount"] = json!(group.member_count);
    }
    if fields.contains(&"name") {
        body["name"] = json!(group.name);
        body["formattedName"] = json!(match group.group_type {
            GroupType::UserContactGroup => group.name.clone(),
            GroupType::SystemContactGroup => capitalised(&group.name),
        });
    }
    body
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
