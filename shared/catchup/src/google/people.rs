//! People v1, read a page at a time.

use chrono::TimeDelta;
use google_apis_common::FieldMask;
use google_people1::PeopleService;
pub use google_people1::api::{ContactGroup, Person};
use shared::config::InvalidConfig;
use shared::job::Setup;
use url::Url;

use super::transport::{self, Connector, Pool};
use super::{Error, Page, Session, api_url};

/// People, or groups, on a page: the most that Google gives.
pub const PEOPLE_PER_PAGE: i32 = 1000;

/// Age at which a sync token is not used any more: Google forgets it after seven days.
/// <https://developers.google.com/people/api/rest/v1/people.connections/list>
pub const MAX_SYNC_TOKEN_AGE: TimeDelta = TimeDelta::hours(7 * 24 - 1);

const OWNER: &str = "people/me";
const PERSON_FIELDS: [&str; 8] = [
    "names",
    "emailAddresses",
    "phoneNumbers",
    "organizations",
    "urls",
    "addresses",
    "memberships",
    "metadata",
];
const GROUP_FIELDS: [&str; 4] = ["name", "groupType", "memberCount", "metadata"];

/// What a sync token depends on: Google takes it only with the parameters of the request that it was given for.
#[must_use]
pub fn parameters() -> String {
    format!("personFields={}&pageSize={PEOPLE_PER_PAGE}&requestSyncToken=true", PERSON_FIELDS.join(","))
}

/// The address books of users. Clones share their connections.
#[derive(Clone)]
pub struct People {
    pool: Pool,
    endpoint: Option<Url>,
}

impl People {
    /// Google's endpoint, or the one of `GOOGLE_API_URL`.
    pub fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let config = setup.config();
        Ok(Self { endpoint: api_url(config)?, pool: transport::pool() })
    }

    /// One page of `people.connections.list`: everyone, or with a sync token what changed since, people deleted at
    /// Google included, whose metadata says so.
    ///
    /// Always asks for a sync token: without that on the first full sync there would never be one. All pages of a sync
    /// must be asked for with the same sync token, or without one.
    /// <https://developers.google.com/people/api/rest/v1/people.connections/list>
    pub async fn connections(
        &self,
        session: &mut Session,
        sync_token: Option<&str>,
        page_token: Option<&str>,
    ) -> Result<Page<Person>, Error> {
        session
            .call("people.connections.list", |token| async move {
                let hub = self.hub(token);
                let mut refusal = self.pool.listen();
                let mut call = hub
                    .people()
                    .connections_list(OWNER)
                    .person_fields(FieldMask::new(&PERSON_FIELDS))
                    .request_sync_token(true)
                    .page_size(PEOPLE_PER_PAGE);
                if let Some(sync_token) = sync_token {
                    call = call.sync_token(sync_token);
                }
                if let Some(page_token) = page_token {
                    call = call.page_token(page_token);
                }
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.classify(answer)
            })
            .await
            .and_then(|list| Page::of(list.connections, list.next_page_token, list.next_sync_token))
    }

    /// One page of `contactGroups.list`.
    pub async fn contact_groups(
        &self,
        session: &mut Session,
        page_token: Option<&str>,
    ) -> Result<Page<ContactGroup>, Error> {
        session
            .call("people.contactGroups.list", |token| async move {
                let hub = self.hub(token);
                let mut refusal = self.pool.listen();
                let mut call = hub
                    .contact_groups()
                    .list()
                    .group_fields(FieldMask::new(&GROUP_FIELDS))
                    .page_size(PEOPLE_PER_PAGE);
                if let Some(page_token) = page_token {
                    call = call.page_token(page_token);
                }
                let answer = call.delegate(&mut refusal).doit().await;
                refusal.classify(answer)
            })
            .await
            .and_then(|list| Page::of(list.contact_groups, list.next_page_token, list.next_sync_token))
    }

    fn hub(&self, token: String) -> PeopleService<Connector> {
        let mut hub = PeopleService::new(self.pool.client(), token);
        if let Some(endpoint) = &self.endpoint {
            hub.base_url(endpoint.to_string());
            hub.root_url(endpoint.to_string());
        }
        hub
    }
}
