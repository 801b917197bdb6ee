//! The generated Rust clients that the functions use, unchanged but for their base address.

use std::pin::Pin;

use google_calendar3::api::Channel;
use google_calendar3::common::GetToken;
use google_calendar3::{CalendarHub, hyper_rustls, hyper_util};
use google_people1::{FieldMask, PeopleService};
use google_stand_in::{Integration, World};

use crate::site::Site;

#[derive(Clone)]
struct Token(String);

type TokenResult = Result<Option<String>, Box<dyn std::error::Error + Send + Sync>>;

impl GetToken for Token {
    fn get_token<'a>(
        &'a self,
        _scopes: &'a [&str],
    ) -> Pin<Box<dyn Future<Output = TokenResult> + Send + 'a>> {
        Box::pin(async move { Ok(Some(self.0.clone())) })
    }
}

macro_rules! client {
    () => {{
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("roots")
            .https_or_http()
            .enable_http1()
            .build();
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector)
    }};
}

#[tokio::test]
async fn google_calendar3_lists_syncs_watches_and_stops() {
    let site = Site::open();
    let mut hub = CalendarHub::new(client!(), Token(site.token(Integration::GoogleCalendar).await));
    hub.base_url(format!("{}/calendar/v3/", site.base));
    let user = site.user();
    let (_, calendars) = hub.calendar_list().list().doit().await.expect("calendars");
    let ids: Vec<String> = calendars.items.expect("items").into_iter().filter_map(|entry| entry.id).collect();
    let known: Vec<String> =
        site.world.calendars(user.id).expect("calendars").into_iter().map(|calendar| calendar.id).collect();
    assert_eq!(ids, known);

    let (mut seen, mut page_token, mut sync_token) = (Vec::new(), None::<String>, None);
    while sync_token.is_none() {
        let mut call = hub.events().list("primary").single_events(true).max_results(20);
        if let Some(token) = &page_token {
            call = call.page_token(token);
        }
        let (_, page) = call.doit().await.expect("events");
        seen.extend(page.items.unwrap_or_default().into_iter().filter_map(|event| event.id));
        (page_token, sync_token) = (page.next_page_token, page.next_sync_token);
    }
    seen.sort_unstable();
    let mut known: Vec<String> =
        site.world.events(user.id, "primary").expect("events").into_iter().map(|event| event.id).collect();
    known.sort_unstable();
    assert_eq!(seen, known);

    site.world.expire_sync_tokens(user.id).expect("a user");
    let call = hub.events().list("primary").single_events(true).sync_token(&sync_token.expect("a token"));
    let error = call.doit().await.expect_err("gone");
    assert!(matches!(error, google_calendar3::Error::BadRequest(body) if body["error"]["code"] == 410));

    let channel = Channel {
        id: Some("c".to_owned()),
        type_: Some("web_hook".to_owned()),
        address: Some("https://app.example.test/hook".to_owned()),
        ..Channel::default()
    };
    let (_, opened) = hub.events().watch(channel, "primary").doit().await.expect("a channel");
    assert!(opened.expiration.is_some());
    hub.channels().stop(opened).doit().await.expect("stopped");
}

#[tokio::test]
async fn google_people1_lists_people_and_groups() {
    let site = Site::open();
    let mut hub = PeopleService::new(client!(), Token(site.token(Integration::GoogleContacts).await));
    hub.base_url(format!("{}/", site.base));
    let fields: FieldMask =
        "names,emailAddresses,phoneNumbers,organizations,urls,addresses,memberships,metadata"
            .parse()
            .expect("a mask");
    let mut seen = Vec::new();
    let (mut page_token, mut sync_token) = (None::<String>, None);
    while sync_token.is_none() {
        let mut call = hub
            .people()
            .connections_list("people/me")
            .person_fields(fields.clone())
            .page_size(20)
            .request_sync_token(true);
        if let Some(token) = &page_token {
            call = call.page_token(token);
        }
        let (_, page) = call.doit().await.expect("people");
        seen.extend(
            page.connections.unwrap_or_default().into_iter().filter_map(|person| person.resource_name),
        );
        (page_token, sync_token) = (page.next_page_token, page.next_sync_token);
    }
    assert_eq!(seen, names(&site.world));
    let (_, groups) = hub.contact_groups().list().page_size(1000).doit().await.expect("groups");
    let count = site.world.groups(site.user().id).expect("groups").len();
    assert_eq!(groups.contact_groups.map(|groups| groups.len()), Some(count));
}

fn names(world: &World) -> Vec<String> {
    let user = world.users().swap_remove(0).id;
    world.people(user).expect("people").into_iter().map(|person| person.resource_name).collect()
}
