//! A sync that cannot go through in one piece, and one that fails: over real servers and the stand-in for Google.

use std::sync::atomic::Ordering;

use catchup::limits::GOOGLE_PEOPLE;
use catchup::queues;
use google_contacts_sync::GoogleContactsSync;
use google_stand_in::{Call, Fault, FaultKind, Integration, PersonName, SeedOptions, Times, World};
use local_cloud::seed;
use serde_json::{Value, json};
use shared::job::Job;
use shared::rate_limit::Decision;
use tests::{Answer, Delivery, Google, RedisProxy, Service, Stack};
use uuid::Uuid;

mod people;
mod survival;

/// People of the address book, in three pages.
const PEOPLE: u64 = 2_100;

struct Fixture {
    stack: Stack,
    google: Google,
    user: Uuid,
    service: Service,
}

impl Fixture {
    /// A user with three pages of people who was never synced.
    async fn new() -> Self {
        Self::with(PEOPLE).await
    }

    /// A user with so many people who was never synced.
    async fn with(people: u64) -> Self {
        let stack = Stack::start().await;
        let options = SeedOptions { users: 2, max_contacts: 10, ..SeedOptions::default() };
        let google = Google::start(&stack, options).await;
        let users = google.world.users();
        let user =
            users.iter().find(|user| user.contacts_grant.as_ref().is_some_and(seed::works)).unwrap().id;
        google.world.add_address_book(user, people).unwrap();
        let service = container(&stack, &google);
        Self { stack, google, user, service }
    }

    fn world(&self) -> &World {
        &self.google.world
    }

    async fn sync(&self) -> Answer {
        self.service.deliver(self.task()).await
    }

    /// The last attempt of a task of which all others failed.
    async fn sync_for_the_last_time(&self) -> Answer {
        let last = self.stack.but_for_one(queues::GOOGLE_CONTACTS_SYNC, self.task()).await;
        self.service.deliver(last).await
    }

    fn task(&self) -> Delivery {
        let data = json!({ "userId": self.user, "syncType": "incremental" });
        Delivery::of(queues::GOOGLE_CONTACTS_SYNC, &data)
    }

    /// The one task that waits for its time.
    async fn next_part(&self) -> Delivery {
        let mut tasks = self.stack.take_tasks(queues::GOOGLE_CONTACTS_SYNC).await;
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        self.stack.advance_to(tasks[0].due);
        tasks.remove(0)
    }

    /// The pages of people after `after` of them go wrong.
    fn fail(&self, kind: FaultKind, after: u32, times: Times) {
        let fault = Fault::new(kind).user(self.user).call(Call::PeopleConnectionsList).times(times);
        self.world().inject(Fault { after, ..fault });
    }

    fn calls(&self, call: Call) -> u64 {
        self.world().calls(self.user).get(&call).copied().unwrap_or_default()
    }

    async fn count(&self, what: &str) -> i64 {
        self.stack.rows::<(i64,)>(&format!("SELECT count(*) FROM {what}")).await[0].0
    }

    /// Everybody with a name is there, and no contact is archived.
    async fn check_complete(&self) {
        let named =
            self.world().people(self.user).unwrap().iter().filter(|person| person.name.is_some()).count();
        assert_eq!(self.count("contacts WHERE NOT archived").await, i64::try_from(named).unwrap());
        assert_eq!(self.count("contacts WHERE archived").await, 0);
    }
}

/// The function as it comes up anew.
fn container(stack: &Stack, google: &Google) -> Service {
    let job = GoogleContactsSync::new(&mut stack.setup(google.environment())).unwrap();
    stack.service_with(job, google.environment())
}

#[track_caller]
fn check_done(answer: &Answer, continued: bool) {
    assert_eq!((answer.status, answer.outcome()), (200, "done"), "{answer:?}");
    assert_eq!(answer.body["result"]["continued"], Value::Bool(continued), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_meets_googles_limit_continues_in_another_task() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 2, Times::Count(1));
    check_done(&fixture.sync().await, true);
    let tokens = fixture.count("jobs.contacts_sync_state WHERE sync_token IS NOT NULL").await;
    let stored = fixture.count("contacts").await;
    assert!(stored > 1_000, "the pages before are committed");
    assert_eq!((tokens, fixture.count("sync_metrics").await), (0, 0), "nothing has ended yet");

    check_done(&fixture.service.deliver(fixture.next_part().await).await, false);
    fixture.check_complete().await;
    assert_eq!(fixture.count("jobs.contacts_sync_state WHERE run IS NOT NULL").await, 0, "the run has ended");
    assert_eq!(fixture.count("jobs.contacts_sync_pages").await, 0, "nothing is left of it");
    assert_eq!(
        fixture.calls(Call::PeopleConnectionsList),
        4,
        "no page was asked for twice but the refused one"
    );
    let metrics = fixture.stack.rows::<(String, String, i32, i32)>(
        "SELECT sync_type, result, items_processed, api_calls_made FROM sync_metrics",
    );
    let items = i32::try_from(PEOPLE).unwrap();
    assert_eq!(metrics.await, [("full".to_owned(), "success".to_owned(), items, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_meets_our_own_limit_waits_without_another_call() {
    let fixture = Fixture::new().await;
    let limiter = fixture.stack.setup(fixture.google.environment()).limiter().unwrap();
    assert_eq!(limiter.acquire_many(&GOOGLE_PEOPLE, fixture.user, 499).await, Decision::Allowed);
    check_done(&fixture.sync().await, true);
    assert_eq!(fixture.calls(Call::PeopleConnectionsList), 1);
    let part = fixture.next_part().await;
    fixture.stack.redis(&["FLUSHALL"]).await;
    // Another container: the first one knows of the limit without asking Redis.
    let other = container(&fixture.stack, &fixture.google);
    check_done(&other.deliver(part).await, false);
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_runs_again_has_no_second_successor() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 1, Times::Forever);
    let data = json!({ "userId": fixture.user, "syncType": "full" });
    let delivery = Delivery::of(queues::GOOGLE_CONTACTS_SYNC, &data);
    check_done(&fixture.service.deliver(delivery.clone()).await, true);
    // As after a container that died between its last effect and its answer.
    fixture.stack.redis(&["FLUSHALL"]).await;
    check_done(&fixture.service.deliver(delivery.again(1)).await, true);
    fixture.world().clear_faults();
    check_done(&fixture.service.deliver(fixture.next_part().await).await, false);
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_run_that_has_ended_does_nothing() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 1, Times::Count(1));
    check_done(&fixture.sync().await, true);
    let part = fixture.next_part().await;
    check_done(&fixture.service.deliver(part.clone()).await, false);
    fixture.stack.redis(&["FLUSHALL"]).await;
    let answer = fixture.service.deliver(part.again(1)).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "superseded"), "{answer:?}");
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_that_grew_too_old_starts_the_sync_over() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 1, Times::Count(1));
    check_done(&fixture.sync().await, true);
    let part = fixture.next_part().await;
    fixture.stack.run("UPDATE jobs.contacts_sync_state SET page_token = 'too old'").await;
    let calls = fixture.calls(Call::PeopleConnectionsList);
    check_done(&fixture.service.deliver(part).await, false);
    assert_eq!(fixture.calls(Call::PeopleConnectionsList) - calls, 4, "the refused page, and all three");
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_page_is_recorded_and_the_sync_token_stays() {
    let fixture = Fixture::new().await;
    check_done(&fixture.sync().await, false);
    let token = "SELECT sync_token FROM jobs.contacts_sync_state";
    let before = fixture.stack.rows::<(String,)>(token).await;
    fixture.fail(FaultKind::ServerError { status: 500 }, 0, Times::Count(2));
    assert_eq!(fixture.sync().await.outcome(), "retry");
    assert_eq!(fixture.stack.rows::<(String,)>(token).await, before);
    assert_eq!(fixture.count("sync_metrics WHERE result = 'failure'").await, 1);
    assert_eq!(fixture.count("google_contacts_sync_state WHERE last_sync_status = 'failed'").await, 1);
    assert_eq!(
        fixture.count("circuit_breaker_state WHERE failure_count > 0").await,
        0,
        "an attempt is no failed sync"
    );
    assert_eq!(fixture.sync_for_the_last_time().await.outcome(), "dead");
    assert_eq!(fixture.count("circuit_breaker_state WHERE failure_count = 1").await, 1);

    check_done(&fixture.sync().await, false);
    assert_eq!(fixture.count("google_contacts_sync_state WHERE last_sync_status = 'success'").await, 1);
    assert_eq!(fixture.count("circuit_breaker_state WHERE failure_count = 0").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failures_open_the_breaker_and_the_next_sync_is_skipped() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::ServerError { status: 500 }, 0, Times::Forever);
    for _ in 0..3 {
        assert_eq!(fixture.sync_for_the_last_time().await.outcome(), "dead");
    }
    let calls = fixture.calls(Call::PeopleConnectionsList);
    let answer = fixture.sync().await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "circuit_breaker_open"), "{answer:?}");
    assert_eq!(fixture.calls(Call::PeopleConnectionsList), calls);
    assert_eq!(fixture.count("sync_metrics WHERE skip_reason = 'circuit_breaker_open'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_took_the_grant_back_is_skipped() {
    let fixture = Fixture::new().await;
    // No other token is left to ask about, so Google's word is believed.
    let others = format!(
        "DELETE FROM oauth_tokens WHERE user_id <> '{}' OR provider <> 'google_contacts'",
        fixture.user
    );
    fixture.stack.run(&others).await;
    fixture.world().revoke_grant(fixture.user, Integration::GoogleContacts).unwrap();
    for _ in 0..2 {
        let answer = fixture.sync().await;
        assert_eq!((answer.outcome(), answer.reason()), ("skipped", "token_revoked"), "{answer:?}");
    }
    assert_eq!(fixture.count("sync_metrics WHERE result = 'skipped'").await, 2);
    assert_eq!(fixture.count("google_contacts_sync_state WHERE last_sync_status = 'in_progress'").await, 0);
    assert_eq!(fixture.count("circuit_breaker_state WHERE failure_count > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_user_is_skipped() {
    let fixture = Fixture::new().await;
    fixture.stack.run("DELETE FROM users").await;
    let answer = fixture.sync().await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "unknown_user"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_of_the_users_own_is_linked_wherever_its_person_is_listed() {
    let fixture = Fixture::new().await;
    let people = fixture.world().people(fixture.user).unwrap();
    let last = people.iter().rfind(|person| person.name.is_some() && person.emails.len() == 1).unwrap();
    let email = last.emails[0].value.to_uppercase();
    fixture
        .stack
        .run(&format!(
            "INSERT INTO contacts (user_id, name, email, instagram) VALUES ('{}', 'own', '{email}', '@own')",
            fixture.user
        ))
        .await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 1, Times::Count(1));
    check_done(&fixture.sync().await, true);
    let in_progress = "google_contacts_sync_state WHERE last_sync_status = 'in_progress'";
    assert_eq!(fixture.count(in_progress).await, 1, "the application shows that it is not the end");
    check_done(&fixture.service.deliver(fixture.next_part().await).await, false);
    assert_eq!(fixture.count(in_progress).await, 0);
    let linked = fixture.stack.rows::<(String, String)>(
        "SELECT google_resource_name, source FROM contacts WHERE instagram = '@own'",
    );
    assert_eq!(linked.await, [(last.resource_name.clone(), "manual".to_owned())]);
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_token_that_google_refuses_starts_the_sync_over() {
    let fixture = Fixture::new().await;
    check_done(&fixture.sync().await, false);
    fixture.stack.run("UPDATE jobs.contacts_sync_state SET sync_token = 'of another system'").await;
    let answer = fixture.sync().await;
    check_done(&answer, false);
    assert_eq!(answer.body["result"]["syncType"], "full", "{answer:?}");
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_returns_under_another_name_takes_up_the_contact() {
    let fixture = Fixture::new().await;
    check_done(&fixture.sync().await, false);
    let mut people = fixture.world().people(fixture.user).unwrap().into_iter();
    let mut person = people.rfind(|person| person.name.is_some() && person.emails.len() == 1).unwrap();
    let contact = format!("contacts WHERE google_resource_name = '{}'", person.resource_name);
    let before = fixture.stack.rows::<(Uuid,)>(&format!("SELECT id FROM {contact}")).await;
    for synced_in_between in [true, false] {
        fixture.world().delete_person(fixture.user, &person.resource_name).unwrap();
        if synced_in_between {
            check_done(&fixture.sync().await, false);
            assert_eq!(fixture.count("contacts WHERE archived").await, 1);
        }
        person = fixture.world().add_person(fixture.user, person).unwrap();
        check_done(&fixture.sync().await, false);
        let contact =
            format!("SELECT id FROM contacts WHERE google_resource_name = '{}'", person.resource_name);
        assert_eq!(fixture.stack.rows::<(Uuid,)>(&contact).await, before);
        fixture.check_complete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_contact_that_could_not_be_dropped_is_dropped_by_the_next_delivery_which_changes_nothing() {
    let fixture = Fixture::new().await;
    check_done(&fixture.sync().await, false);
    let (changed, gone): (Uuid, Uuid) = fixture
        .stack
        .rows(
            // People who share no address or number with another one, whose contact would take their place.
            "WITH two AS (
                 SELECT id FROM (
                     SELECT id, email, phone, count(*) OVER (PARTITION BY lower(email)) AS emails,
                            count(*) OVER (PARTITION BY regexp_replace(phone, '[^0-9]', '', 'g')) AS phones
                     FROM contacts WHERE google_resource_name IS NOT NULL
                 ) c
                 WHERE (email IS NULL OR emails = 1) AND (phone IS NULL OR phones = 1) ORDER BY id LIMIT 2
             )
             SELECT (array_agg(id ORDER BY id))[1], (array_agg(id ORDER BY id))[2] FROM two",
        )
        .await
        .remove(0);
    let name = async |id: Uuid| {
        let names = format!("SELECT google_resource_name FROM contacts WHERE id = '{id}'");
        fixture.stack.rows::<(String,)>(&names).await.remove(0).0
    };
    let (changed_name, gone_name) = (name(changed).await, name(gone).await);
    let renamed = PersonName { given: "Renamed".to_owned(), family: "Person".to_owned() };
    fixture.world().change_person(fixture.user, &changed_name, |person| person.name = Some(renamed)).unwrap();
    fixture.world().delete_person(fixture.user, &gone_name).unwrap();

    let list = format!("contact:list:{}", fixture.user);
    let keys = [list.clone(), format!("contact:profile:{changed}"), format!("contact:profile:{gone}")];
    let cached = async || fixture.stack.redis(&["EXISTS", &keys[0], &keys[1], &keys[2]]).await;
    for key in &keys {
        fixture.stack.redis(&["SET", key, "{}"]).await;
    }
    let (proxy, fails) = RedisProxy::failing(&fixture.stack.gateway.url(), &list);
    let redis = ("UPSTASH_REDIS_REST_URL", proxy.url("job"));
    let environment = fixture.google.environment().into_iter().chain([redis]);
    let job = GoogleContactsSync::new(&mut fixture.stack.setup(environment)).unwrap();
    let service = fixture.stack.service_with(job, fixture.google.environment());
    assert_eq!(service.deliver(fixture.task()).await.status, 503);
    assert_eq!(fixture.count("contacts WHERE name = 'Renamed Person'").await, 1);
    assert_eq!(fixture.count("contacts WHERE archived").await, 1);
    assert_eq!(cached().await, redis::Value::Int(3));

    fails.store(false, Ordering::SeqCst);
    check_done(&service.deliver(fixture.task().again(1)).await, false);
    assert_eq!(cached().await, redis::Value::Int(0));
}
