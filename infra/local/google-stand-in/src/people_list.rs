//! `people.connections.list`: pages, field masks, and what changed since a sync token that lives seven days.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::address_book::{AddressBook, Row};
use crate::opaque::{open, seal};
use crate::person::PersonFields;
use crate::person_wire::WirePerson;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::state::State;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;
/// People guides, "Read and manage contacts": sync tokens expire seven days after the full sync.
pub(crate) const SYNC_TOKEN_LIFETIME: TimeDelta = TimeDelta::days(7);
/// `Retry-After` when the quota for first pages of full syncs is used up.
const FIRST_PAGE_RETRY_AFTER_S: u32 = 60;
/// The stand-in lists in one order; the parameter is checked and otherwise without effect.
const SORT_ORDERS: &[&str] =
    &["LAST_MODIFIED_ASCENDING", "LAST_MODIFIED_DESCENDING", "FIRST_NAME_ASCENDING", "LAST_NAME_ASCENDING"];

/// What has to be the same from the first request on, through all pages and all incremental syncs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Parameters {
    fields: PersonFields,
    sources: Vec<String>,
    sort_order: Option<String>,
    page_size: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct SyncToken {
    people_sync: Uuid,
    born: DateTime<Utc>,
    epoch: u64,
    issued_at: DateTime<Utc>,
    revision: u64,
    parameters: Parameters,
}

#[derive(Debug, Serialize, Deserialize)]
struct PageToken {
    people_page: Uuid,
    /// As in [`SyncToken`]: a book that was replaced has other people under the same numbers.
    epoch: u64,
    /// Changes after this one are the next sync's.
    revision: u64,
    /// The first number of the page; of a list of changes, the first revision.
    from: u64,
    parameters: Parameters,
    request_sync_token: bool,
    sync_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connections: Vec<WirePerson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_sync_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_people: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_items: Option<usize>,
}

pub(crate) fn list(
    state: &mut State,
    user: Uuid,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<Response, Refusal> {
    let born = state.born;
    let book = &mut state.account_mut(user).map_err(|_| Refusal::unauthorized())?.book;
    let parameters = parameters(query)?;
    let request_sync_token = query.flag("requestSyncToken")?;
    let sync_token = query.text("syncToken");
    let since = match sync_token {
        None => None,
        Some(text) => {
            let token = open::<SyncToken>(text)
                .filter(|token| token.people_sync == user)
                .ok_or_else(|| Refusal::invalid("syncToken", "Sync token is invalid."))?;
            let expired = token.issued_at + SYNC_TOKEN_LIFETIME <= now;
            if expired || (token.born, token.epoch) != (born, book.epoch) {
                return Err(Refusal::expired_sync_token());
            }
            if token.parameters != parameters {
                return Err(mismatch("sync"));
            }
            Some(token.revision)
        }
    };
    let page = match query.text("pageToken") {
        None => None,
        Some(text) => {
            let page = open::<PageToken>(text)
                .filter(|page| page.people_page == user && page.epoch == book.epoch)
                .ok_or_else(|| Refusal::invalid("pageToken", "Page token is invalid."))?;
            let same = page.parameters == parameters
                && page.request_sync_token == request_sync_token
                && page.sync_token.as_deref() == sync_token;
            if !same {
                return Err(mismatch("page"));
            }
            Some(page)
        }
    };
    // "The first page of a full sync request has an additional quota" (People reference, people.connections.list).
    if since.is_none() && page.is_none() && !book.take_first_page() {
        return Err(Refusal::too_many_requests(FIRST_PAGE_RETRY_AFTER_S));
    }
    let (from, revision) = page.map_or((0, book.revision), |page| (page.from, page.revision));
    let size = parameters.page_size;
    let mut rows = rows(book, from, since.map(|since| (since, revision)), size + 1);
    let next = if rows.len() > size { rows.pop().map(|(number, _)| number) } else { None };

    let fields = parameters.fields.clone();
    let answer = Answer {
        connections: rows.iter().map(|(_, row)| WirePerson::new(row, &fields, since.is_some())).collect(),
        next_sync_token: (next.is_none() && request_sync_token).then(|| {
            seal(&SyncToken {
                people_sync: user,
                born,
                epoch: book.epoch,
                issued_at: now,
                revision,
                parameters: parameters.clone(),
            })
        }),
        next_page_token: next.map(|from| {
            seal(&PageToken {
                people_page: user,
                epoch: book.epoch,
                revision,
                from,
                parameters,
                request_sync_token,
                sync_token: sync_token.map(str::to_owned),
            })
        }),
        total_people: since.is_none().then(|| book.len()),
        total_items: since.is_none().then(|| book.len()),
    };
    let body = serde_json::to_vec(&answer).expect("people are plain data");
    Ok(([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response())
}

/// Everybody, or who changed after the one revision up to the other, in the order of the changes.
fn rows(book: &AddressBook, from: u64, changes: Option<(u64, u64)>, most: usize) -> Vec<(u64, Row)> {
    if let Some((since, until)) = changes {
        return book.changed(from.max(since + 1), until).into_iter().take(most).collect();
    }
    book.live(from).map(|(number, person)| (number, Row::Live(Box::new(person)))).take(most).collect()
}

fn parameters(query: &Query) -> Result<Parameters, Refusal> {
    // The deprecated mask names the same fields with `person.` before each.
    let old = query.text("requestMask.includeField").unwrap_or_default().replace("person.", "");
    let mask = query.text("personFields").unwrap_or(&old);
    let fields = PersonFields::parse(mask).map_err(|path| {
        Refusal::invalid(
            "personFields",
            format!(
                "Invalid personFields mask path: \"{path}\". Valid paths are documented at \
                 https://developers.google.com/people/api/rest/v1/people.connections/list."
            ),
        )
    })?;
    if fields.is_empty() {
        return Err(Refusal::invalid(
            "personFields",
            "personFields mask is required. Please specify one or more valid paths. Valid paths are documented at \
             https://developers.google.com/people/api/rest/v1/people.connections/list.",
        ));
    }
    let sort_order = query.text("sortOrder").map(str::to_owned);
    if sort_order.as_deref().is_some_and(|order| !SORT_ORDERS.contains(&order)) {
        return Err(Refusal::invalid("sortOrder", "Invalid value at 'sort_order'"));
    }
    Ok(Parameters {
        fields,
        sources: query.texts("sources").into_iter().map(str::to_owned).collect(),
        sort_order,
        page_size: page_size(query, DEFAULT_PAGE)?,
    })
}

/// The page size of People: 0 stands for the default, more than a thousand is refused.
pub(crate) fn page_size(query: &Query, default: usize) -> Result<usize, Refusal> {
    match query.value::<usize>("pageSize")? {
        None | Some(0) => Ok(default),
        Some(size) if size <= LARGEST_PAGE => Ok(size),
        Some(_) => Err(Refusal::invalid(
            "pageSize",
            format!("Page size must be less than or equal to {LARGEST_PAGE}."),
        )),
    }
}

fn mismatch(token: &str) -> Refusal {
    Refusal::invalid(
        "personFields",
        format!("Request parameters must match those of the call that provided the {token} token."),
    )
}
