//! `people.connections.list` and `contactGroups.list`.

use axum::http::StatusCode;
use chrono::TimeDelta;
use google_stand_in::{Labelled, Person, PersonName};
use serde_json::{Value, json};

use crate::site::{Api, Refusal, Site, sorted, text};

const CONNECTIONS: &str = "/v1/people/me/connections";
const GROUPS: &str = "/v1/contactGroups";
const FIELDS: (&str, &str) =
    ("personFields", "names,emailAddresses,phoneNumbers,organizations,urls,addresses,memberships,metadata");
const SYNC: (&str, &str) = ("requestSyncToken", "true");
const SIZE: (&str, &str) = ("pageSize", "10");

async fn full_sync(api: &Api<'_>) -> (Vec<Value>, usize, String) {
    let (items, pages, last) = api.all(CONNECTIONS, "connections", &[FIELDS, SYNC, SIZE]).await;
    (items, pages, text(&last, "nextSyncToken"))
}

async fn changes(api: &Api<'_>, token: &str) -> (Vec<Value>, String) {
    let query = [FIELDS, SYNC, SIZE, ("syncToken", token)];
    let (items, _, last) = api.all(CONNECTIONS, "connections", &query).await;
    (items, text(&last, "nextSyncToken"))
}

fn named(given: &str) -> Person {
    Person {
        name: Some(PersonName { given: given.to_owned(), family: "Test".to_owned() }),
        emails: vec![Labelled { value: format!("{given}@x.test"), label: "home".to_owned(), primary: true }],
        ..Person::default()
    }
}

#[tokio::test]
async fn people_pages_list_everyone_once_during_changes() {
    let site = Site::open();
    let api = site.contacts().await;
    let user = site.user().id;
    let everybody: Vec<String> =
        site.world.people(user).expect("people").into_iter().map(|person| person.resource_name).collect();
    let query = [FIELDS, SYNC, SIZE];
    let first = api.get(CONNECTIONS, &query).await.ok();
    assert_eq!(first["totalPeople"], everybody.len());
    let gone = text(&first["connections"][0], "resourceName");
    site.world.delete_person(user, &gone).expect("deleted");
    let new = site.world.add_person(user, named("New")).expect("added").resource_name;
    let mut items = first["connections"].as_array().expect("people").clone();
    let mut token = text(&first, "nextPageToken");
    let sync = loop {
        let page = api.get(CONNECTIONS, &[&query[..], &[("pageToken", &token)]].concat()).await.ok();
        items.extend(page["connections"].as_array().expect("people").clone());
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break text(&page, "nextSyncToken"),
        }
    };
    let mut expected = everybody;
    expected.push(new.clone());
    expected.sort_unstable();
    assert_eq!(sorted(&items, "resourceName"), expected);
    let (changed, _) = changes(&api, &sync).await;
    let mut told = vec![gone, new];
    told.sort_unstable();
    assert_eq!(
        sorted(&changed, "resourceName"),
        told,
        "what changed after the first page is the next sync's"
    );
}

#[tokio::test]
async fn incremental_people_sync_lists_new_changed_and_deleted_people_once() {
    let site = Site::open();
    let api = site.contacts().await;
    let user = site.user().id;
    let (everybody, pages, token) = full_sync(&api).await;
    assert!(pages > 1);
    let (none, token) = changes(&api, &token).await;
    assert_eq!(none, Vec::<Value>::new());
    let [changed, deleted] = [0, 1].map(|at: usize| text(&everybody[at], "resourceName"));
    let added = site.world.add_person(user, named("Ada")).expect("added").resource_name;
    site.world.change_person(user, &changed, |person| person.name = named("Other").name).expect("changed");
    site.world.delete_person(user, &deleted).expect("deleted");
    let (items, token) = changes(&api, &token).await;
    let find = |name: &str| items.iter().find(|item| item["resourceName"] == json!(name)).expect("told");
    assert_eq!(items.len(), 3);
    assert_eq!(find(&added)["names"][0]["displayName"], "Ada Test");
    assert_eq!(find(&added)["emailAddresses"][0]["metadata"]["primary"], true);
    assert_eq!(find(&changed)["names"][0]["givenName"], "Other");
    assert_ne!(find(&changed)["etag"], everybody[0]["etag"]);
    assert_eq!(find(&deleted)["metadata"]["deleted"], true);
    assert!(find(&deleted)["names"].is_null());
    assert_eq!(changes(&api, &token).await.0, Vec::<Value>::new());
}

#[tokio::test]
async fn who_was_renamed_or_merged_is_said_in_a_list_of_changes_only() {
    let site = Site::open();
    let api = site.contacts().await;
    let (user, world) = (site.user().id, &site.world);
    let [ada, bob, eve] =
        ["Ada", "Bob", "Eve"].map(|name| world.add_person(user, named(name)).expect("added"));
    let (_, _, token) = full_sync(&api).await;
    let renamed = world.rename_person(user, &ada.resource_name, true).expect("renamed").resource_name;
    world.merge_people(user, &bob.resource_name, &eve.resource_name).expect("merged");
    let (items, _) = changes(&api, &token).await;
    let told: Vec<_> = items
        .iter()
        .map(|item| {
            let previous = item["metadata"]["previousResourceNames"].clone();
            (text(item, "resourceName"), item["metadata"]["deleted"] == true, previous)
        })
        .collect();
    let expected = [
        (renamed.clone(), false, json!([ada.resource_name])),
        (ada.resource_name, true, Value::Null),
        (bob.resource_name.clone(), true, Value::Null),
        (eve.resource_name.clone(), false, json!([bob.resource_name])),
    ];
    assert_eq!(told, expected, "in the order of the changes");
    assert_eq!(items[3]["emailAddresses"].as_array().expect("addresses").len(), 2);
    let (everybody, _, _) = full_sync(&api).await;
    let find =
        |name: &str| everybody.iter().find(|item| item["resourceName"] == json!(name)).expect("listed");
    assert!(find(&renamed)["metadata"]["previousResourceNames"].is_null());
    assert!(find(&eve.resource_name)["metadata"]["previousResourceNames"].is_null());
}

#[tokio::test]
async fn a_deleted_person_comes_back_under_the_same_name_or_another() {
    let site = Site::open();
    let api = site.contacts().await;
    let (user, world) = (site.user().id, &site.world);
    for renamed in [false, true] {
        let person = world.add_person(user, named("Ada")).expect("added");
        world.delete_person(user, &person.resource_name).expect("deleted");
        let (_, _, token) = full_sync(&api).await;
        let back = world.restore_person(user, &person.resource_name, renamed).expect("restored");
        assert_eq!(back.resource_name == person.resource_name, !renamed);
        let (items, _) = changes(&api, &token).await;
        assert_eq!(sorted(&items, "resourceName"), [back.resource_name]);
        assert_eq!(items[0]["names"][0]["givenName"], "Ada");
        assert!(world.restore_person(user, &person.resource_name, renamed).is_err(), "only once");
    }
}

#[tokio::test]
async fn first_pages_of_full_syncs_have_a_quota_of_their_own() {
    let site = Site::open();
    let api = site.contacts().await;
    site.world.limit_full_syncs(site.user().id, Some(1)).expect("a user");
    let (_, pages, token) = full_sync(&api).await;
    assert!(pages > 1, "only first pages count");
    let answer = api.get(CONNECTIONS, &[FIELDS, SYNC, SIZE]).await;
    assert_eq!((answer.status, answer.info()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED"));
    changes(&api, &token).await;
}

#[tokio::test]
async fn a_sync_token_lives_seven_days_and_ends_on_demand() {
    let site = Site::open();
    let (_, _, token) = full_sync(&site.contacts().await).await;
    let query = [FIELDS, SYNC, SIZE, ("syncToken", token.as_str())];
    site.time.pass(TimeDelta::days(7) - TimeDelta::minutes(1));
    let api = site.contacts().await;
    api.get(CONNECTIONS, &query).await.ok();
    site.time.pass(TimeDelta::minutes(1));
    let answer = api.get(CONNECTIONS, &query).await;
    assert_eq!((answer.status, answer.info()), (StatusCode::BAD_REQUEST, "EXPIRED_SYNC_TOKEN"));
    assert_eq!(answer.body["error"]["status"], "FAILED_PRECONDITION");
    let (_, _, token) = full_sync(&api).await;
    site.world.expire_sync_tokens(site.user().id).expect("a user");
    let answer = api.get(CONNECTIONS, &[FIELDS, SYNC, SIZE, ("syncToken", &token)]).await;
    assert_eq!(answer.info(), "EXPIRED_SYNC_TOKEN");
}

#[tokio::test]
async fn a_sync_token_has_to_be_asked_for() {
    let site = Site::open();
    let api = site.contacts().await;
    let (_, _, last) = api.all(CONNECTIONS, "connections", &[FIELDS]).await;
    assert!(last["nextSyncToken"].is_null());
}

#[tokio::test]
async fn parameters_other_than_those_of_the_first_request_are_refused() {
    let site = Site::open();
    let api = site.contacts().await;
    let page = text(&api.get(CONNECTIONS, &[FIELDS, SYNC, SIZE]).await.ok(), "nextPageToken");
    let (_, _, sync) = full_sync(&api).await;
    let names = ("personFields", "names");
    for query in [
        vec![names, SYNC, SIZE, ("pageToken", page.as_str())],
        vec![FIELDS, SIZE, ("pageToken", &page)],
        vec![FIELDS, SYNC, ("pageSize", "11"), ("pageToken", &page)],
        vec![names, SYNC, SIZE, ("syncToken", &sync)],
        vec![FIELDS, SYNC, ("syncToken", &sync)],
        vec![FIELDS, SYNC, SIZE, ("sortOrder", "FIRST_NAME_ASCENDING"), ("syncToken", &sync)],
        vec![FIELDS, SYNC, SIZE, ("syncToken", "nonsense")],
    ] {
        let answer = api.get(CONNECTIONS, &query).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query:?}");
        assert_eq!(answer.body["error"]["status"], "INVALID_ARGUMENT");
    }
    // The order within the mask means nothing.
    let turned = FIELDS.1.split(',').rev().collect::<Vec<_>>().join(",");
    api.get(CONNECTIONS, &[("personFields", &turned), SYNC, SIZE, ("pageToken", &page)]).await.ok();
}

#[tokio::test]
async fn person_fields_mask_is_required_validated_and_applied() {
    let site = Site::open();
    let api = site.contacts().await;
    for query in [vec![], vec![("personFields", "names,nonsense")], vec![FIELDS, ("pageSize", "1001")]] {
        assert_eq!(api.get(CONNECTIONS, &query).await.status, StatusCode::BAD_REQUEST);
    }
    let (items, _, _) = api.all(CONNECTIONS, "connections", &[("personFields", "names")]).await;
    for item in items {
        let keys: Vec<&String> = item.as_object().expect("a person").keys().collect();
        assert!(keys.iter().all(|key| ["resourceName", "etag", "names"].contains(&key.as_str())), "{keys:?}");
    }
}

#[tokio::test]
async fn an_empty_answer_has_no_connections_at_all() {
    let site = Site::open();
    let empty = site.world.users().swap_remove(4);
    let grant = empty.contacts_grant.expect("a grant");
    let body = site.refresh(&grant.refresh_token.expect("a refresh token")).await.ok();
    let api = Api { site: &site, token: text(&body, "access_token") };
    let answer = api.get(CONNECTIONS, &[FIELDS, SYNC]).await.ok();
    assert!(answer.get("connections").is_none());
    assert_eq!(answer["totalPeople"], 0);
    text(&answer, "nextSyncToken");
}

#[tokio::test]
async fn contact_groups_page_and_tell_of_new_renamed_refilled_and_deleted_ones() {
    let site = Site::open();
    let api = site.contacts().await;
    let (world, user) = (&site.world, site.user().id);
    let [renamed, deleted] =
        ["Old", "Gone"].map(|name| world.add_group(user, name).expect("added").resource_name);
    let member = Person { memberships: vec![deleted.clone()], ..named("Member") };
    let member = world.add_person(user, member).expect("added").resource_name;
    let (items, pages, last) = api.all(GROUPS, "contactGroups", &[("pageSize", "3")]).await;
    assert_eq!(pages, items.len().div_ceil(3));
    let known = world.groups(user).expect("groups");
    assert_eq!(items.len(), known.len());
    for (item, group) in items.iter().zip(&known) {
        assert_eq!(text(item, "resourceName"), group.resource_name);
        assert_eq!(item["memberCount"].as_u64().unwrap_or(0), group.member_count as u64);
    }
    let token = text(&last, "nextSyncToken");

    world.rename_group(user, &renamed, "New").expect("renamed");
    world.delete_group(user, &deleted).expect("deleted");
    world.add_person(user, named("Another")).expect("added");
    let (items, token) = group_changes(&api, &token).await;
    let find = |name: &str| items.iter().find(|item| item["resourceName"] == json!(name)).expect("told");
    assert_eq!(items.len(), 3);
    assert_eq!(find(&renamed)["name"], "New");
    assert_eq!(find(&deleted)["metadata"]["deleted"], true);
    assert!(find("contactGroups/myContacts")["memberCount"].as_u64() > Some(1));
    assert_eq!(group_changes(&api, &token).await.0, Vec::<Value>::new());
    let people = world.people(user).expect("people");
    let left = people.iter().find(|person| person.resource_name == member).expect("still there");
    assert!(left.memberships.is_empty());
}

async fn group_changes(api: &Api<'_>, token: &str) -> (Vec<Value>, String) {
    let (items, _, last) = api.all(GROUPS, "contactGroups", &[("syncToken", token)]).await;
    (items, text(&last, "nextSyncToken"))
}

#[tokio::test]
async fn an_address_book_of_100_000_people_pages_to_its_end() {
    let site = Site::open();
    let user = site.user().id;
    site.world.add_address_book(user, 100_000).expect("a user");
    let api = site.contacts().await;
    let query = [("personFields", "names,memberships"), SYNC, ("pageSize", "1000")];
    let mut seen = 0;
    let mut next: Option<String> = None;
    for _ in 0..100 {
        let mut query = query.to_vec();
        if let Some(token) = &next {
            query.push(("pageToken", token));
        }
        let page = api.get(CONNECTIONS, &query).await.ok();
        seen += page["connections"].as_array().map_or(0, Vec::len);
        next = page["nextPageToken"].as_str().map(str::to_owned);
    }
    assert_eq!((seen, next), (100_000, None));
}
