//! People who are renamed, merged and deleted, and listings that must not be believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use catchup::queues;
use google_contacts_sync::GoogleContactsSync;
use google_stand_in::{Call, FaultKind, Labelled, Person, PersonName, Times};
use serde_json::json;
use shared::job::Job as _;
use tests::redis_proxy::ProxyAction;
use tests::{Answer, Delivery, RedisProxy};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{Fixture, check_done};

fn person(name: &str, email: &str) -> Person {
    Person {
        name: Some(PersonName { given: name.to_owned(), family: String::new() }),
        emails: vec![Labelled { value: email.to_owned(), label: "home".to_owned(), primary: true }],
        ..Person::default()
    }
}

impl Fixture {
    fn add(&self, name: &str, email: &str) -> String {
        self.world().add_person(self.user, person(name, email)).unwrap().resource_name
    }

    async fn sync_as(&self, sync_type: &str) -> Answer {
        let data = json!({ "userId": self.user, "syncType": sync_type });
        self.service.deliver(Delivery::of(queues::GOOGLE_CONTACTS_SYNC, &data)).await
    }

    /// The contacts of two people, those with the user's own values that are to have some.
    async fn annotated(&self, people: [(&str, bool); 2]) -> [Uuid; 2] {
        let mut contacts = [Uuid::nil(); 2];
        for (place, (resource_name, is_annotated)) in people.into_iter().enumerate() {
            contacts[place] = self.contact(resource_name).await.unwrap();
            if is_annotated {
                self.annotate(contacts[place]).await;
            }
        }
        contacts
    }

    async fn contact(&self, resource_name: &str) -> Option<Uuid> {
        let contact = format!(
            "SELECT id FROM contacts WHERE google_resource_name = '{resource_name}' AND NOT archived"
        );
        self.stack.rows::<(Uuid,)>(&contact).await.pop().map(|(id,)| id)
    }

    /// The user writes something on a contact.
    async fn annotate(&self, contact: Uuid) {
        self.stack.run(&format!("UPDATE contacts SET instagram = '@{contact}' WHERE id = '{contact}'")).await;
    }

    /// The user archives a contact by hand.
    async fn archive(&self, contact: Uuid) {
        let archive =
            format!("UPDATE contacts SET archived = true, archived_at = now() WHERE id = '{contact}'");
        self.stack.run(&archive).await;
    }

    async fn is_annotated(&self, contact: Uuid) -> bool {
        self.count(&format!("contacts WHERE id = '{contact}' AND instagram = '@{contact}'")).await == 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_comes_before_their_former_self_is_gone_keeps_the_contact() {
    for (pages_between, synced_between) in [(true, false), (false, true), (false, false)] {
        let fixture = Fixture::with(0).await;
        let old = fixture.add("Ada", "ada@example.test");
        check_done(&fixture.sync().await, false);
        let contact = fixture.contact(&old).await.unwrap();
        fixture.annotate(contact).await;
        // As after an export and an import: nothing but the address says who this is.
        let new = fixture.add("Ada", "ADA@example.test ");
        if pages_between {
            for number in 0..1_000 {
                fixture.add("Other", &format!("{number}@example.test"));
            }
        }
        if synced_between {
            check_done(&fixture.sync_as("incremental").await, false);
        }
        fixture.world().delete_person(fixture.user, &old).unwrap();
        check_done(&fixture.sync_as("incremental").await, false);
        assert_eq!(fixture.contact(&new).await, Some(contact), "{pages_between} {synced_between}");
        assert!(fixture.is_annotated(contact).await);
        assert_eq!(fixture.count("contacts WHERE archived").await, 0, "{pages_between} {synced_between}");
        fixture.check_complete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_contacts_of_a_merged_person_the_one_that_the_user_wrote_on_stays() {
    for (of_gone, of_kept) in [(true, false), (false, true), (true, true), (false, false)] {
        let fixture = Fixture::with(0).await;
        let (gone, kept) = (fixture.add("Ada", "ada@example.test"), fixture.add("A. L.", "al@example.test"));
        check_done(&fixture.sync().await, false);
        let [first, second] = fixture.annotated([(&gone, of_gone), (&kept, of_kept)]).await;
        fixture.world().merge_people(fixture.user, &gone, &kept).unwrap();
        check_done(&fixture.sync_as("incremental").await, false);
        let expected = if of_gone && !of_kept { first } else { second };
        assert_eq!(fixture.contact(&kept).await, Some(expected), "{of_gone} {of_kept}");
        assert_eq!(fixture.count("contacts WHERE archived AND archived_at IS NOT NULL").await, 1);
        assert_eq!(
            (fixture.is_annotated(first).await, fixture.is_annotated(second).await),
            (of_gone, of_kept)
        );

        // The merge is undone: who was archived is there again.
        fixture.add("Ada", if expected == first { "al@example.test" } else { "ada@example.test" });
        check_done(&fixture.sync_as("incremental").await, false);
        assert_eq!(fixture.count("contacts WHERE NOT archived").await, 2);
        assert_eq!(fixture.count("contacts").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_finds_who_was_renamed_by_address_or_number() {
    let mut by_number = person("Ada", "");
    by_number.phones = std::mem::take(&mut by_number.emails);
    by_number.phones[0].value = "+44 (20) 1".to_owned();
    for known_by in [person("Ada", "ada@example.test"), by_number] {
        let fixture = Fixture::with(0).await;
        let old = fixture.world().add_person(fixture.user, known_by).unwrap().resource_name;
        check_done(&fixture.sync().await, false);
        let contact = fixture.contact(&old).await.unwrap();
        fixture.annotate(contact).await;
        let new = fixture.world().rename_person(fixture.user, &old, true).unwrap().resource_name;
        check_done(&fixture.sync_as("full").await, false);
        assert_eq!(fixture.contact(&new).await, Some(contact));
        assert!(fixture.is_annotated(contact).await);
        assert_eq!(fixture.count("contacts").await, 1, "the one that was inserted is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_the_user_archived_stays_archived_when_its_person_is_renamed() {
    for sync_type in ["incremental", "full"] {
        let fixture = Fixture::with(0).await;
        let old = fixture.add("Ada", "ada@example.test");
        check_done(&fixture.sync().await, false);
        fixture.archive(fixture.contact(&old).await.unwrap()).await;
        let new = fixture.world().rename_person(fixture.user, &old, true).unwrap().resource_name;
        check_done(&fixture.sync_as(sync_type).await, false);
        let contacts = "SELECT google_resource_name, archived FROM contacts";
        assert_eq!(fixture.stack.rows::<(String, bool)>(contacts).await, [(new, true)], "{sync_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_contacts_of_a_merged_person_the_one_that_the_user_archived_goes() {
    for archived_is_kept_by_google in [true, false] {
        let fixture = Fixture::with(0).await;
        let (gone, kept) = (fixture.add("Ada", "ada@example.test"), fixture.add("A. L.", "al@example.test"));
        check_done(&fixture.sync().await, false);
        let (of_gone, of_kept) =
            (fixture.contact(&gone).await.unwrap(), fixture.contact(&kept).await.unwrap());
        let (archived, in_use) =
            if archived_is_kept_by_google { (of_kept, of_gone) } else { (of_gone, of_kept) };
        // Even if the user wrote on no other.
        fixture.annotate(archived).await;
        fixture.archive(archived).await;
        fixture.world().merge_people(fixture.user, &gone, &kept).unwrap();
        check_done(&fixture.sync_as("incremental").await, false);
        assert_eq!(fixture.contact(&kept).await, Some(in_use), "{archived_is_kept_by_google}");
        assert!(fixture.is_annotated(archived).await);
        assert_eq!(fixture.count(&format!("contacts WHERE archived AND id = '{archived}'")).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_with_values_of_the_users_takes_over_one_with_no_more_than_a_note() {
    let fixture = Fixture::with(0).await;
    let old = fixture.add("Ada", "ada@example.test");
    check_done(&fixture.sync().await, false);
    let contact = fixture.contact(&old).await.unwrap();
    fixture.annotate(contact).await;
    let new = fixture.add("Ada", "ada@example.test");
    check_done(&fixture.sync().await, false);
    let other = fixture.contact(&new).await.unwrap();
    fixture.stack.run(&format!("UPDATE contacts SET custom_notes = 'likes tea' WHERE id = '{other}'")).await;
    fixture.world().delete_person(fixture.user, &old).unwrap();
    check_done(&fixture.sync().await, false);
    assert_eq!(fixture.contact(&new).await, Some(contact));
    assert!(fixture.is_annotated(contact).await);
    let notes = "SELECT custom_notes, archived FROM contacts ORDER BY archived";
    let expected = [(None, false), (Some("likes tea".to_owned()), true)];
    assert_eq!(fixture.stack.rows::<(Option<String>, bool)>(notes).await, expected);
}

/// A person of whom two duplicates were merged, the one with the user's values shown, and who is then renamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_matches_a_contact_in_use_before_one_that_gave_way_to_it() {
    let fixture = Fixture::with(0).await;
    let (gone, kept) = (fixture.add("Ada", "ada@example.test"), fixture.add("A. L.", "al@example.test"));
    check_done(&fixture.sync().await, false);
    let contact = fixture.contact(&gone).await.unwrap();
    fixture.annotate(contact).await;
    let merged = fixture.world().merge_people(fixture.user, &gone, &kept).unwrap().resource_name;
    check_done(&fixture.sync().await, false);
    assert_eq!(fixture.contact(&merged).await, Some(contact));
    // Both contacts have the address of the person who stayed.
    let renamed = fixture.world().rename_person(fixture.user, &merged, true).unwrap().resource_name;
    check_done(&fixture.sync_as("full").await, false);
    assert_eq!(fixture.contact(&renamed).await, Some(contact));
    assert_eq!(fixture.count("contacts WHERE NOT archived").await, 1);
}

/// The one who was merged into the person brought an address along, by which their own contact is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_the_user_wrote_on_is_found_by_its_number_unless_its_address_says_otherwise() {
    for (of_gone, of_kept, address) in [
        (false, true, None),
        (true, true, None),
        (false, false, None),
        // Another one of the same household.
        (false, true, Some("home@example.test")),
    ] {
        let fixture = Fixture::with(0).await;
        let mut kept = person("Ada", address.unwrap_or_default());
        kept.emails.retain(|_| address.is_some());
        kept.phones = vec![Labelled { value: "+44 (20) 1".into(), label: "home".into(), primary: true }];
        let kept = fixture.world().add_person(fixture.user, kept).unwrap().resource_name;
        let gone = fixture.add("A. L.", "ada@example.test");
        check_done(&fixture.sync().await, false);
        let [first, second] = fixture.annotated([(&gone, of_gone), (&kept, of_kept)]).await;
        fixture.world().merge_people(fixture.user, &gone, &kept).unwrap();
        let forget =
            |person: &mut Person| person.emails.retain(|email| Some(email.value.as_str()) != address);
        fixture.world().change_person(fixture.user, &kept, forget).unwrap();
        let renamed = fixture.world().rename_person(fixture.user, &kept, false).unwrap().resource_name;
        check_done(&fixture.sync_as("full").await, false);
        let expected = if of_kept && !of_gone && address.is_none() { second } else { first };
        assert_eq!(fixture.contact(&renamed).await, Some(expected), "{of_gone} {of_kept} {address:?}");
        assert_eq!(fixture.count("contacts WHERE NOT archived").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_google_has_forgotten_is_not_tried() {
    for (days, expected) in [(6, "incremental"), (7, "full")] {
        let fixture = Fixture::new().await;
        check_done(&fixture.sync().await, false);
        let calls = fixture.calls(Call::PeopleConnectionsList);
        let given =
            format!("UPDATE jobs.contacts_sync_state SET given_at = given_at - interval '{days} days'");
        fixture.stack.run(&given).await;
        let answer = fixture.sync().await;
        assert_eq!(answer.body["result"]["syncType"], expected, "{answer:?}");
        let pages = if expected == "full" { 3 } else { 1 };
        assert_eq!(fixture.calls(Call::PeopleConnectionsList) - calls, pages, "none was refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_other_parameters_is_not_tried() {
    let fixture = Fixture::new().await;
    check_done(&fixture.sync().await, false);
    let calls = fixture.calls(Call::PeopleConnectionsList);
    fixture.stack.run("UPDATE jobs.contacts_sync_state SET parameters = 'pageSize=100'").await;
    assert_eq!(fixture.sync().await.body["result"]["syncType"], "full");
    assert_eq!(fixture.calls(Call::PeopleConnectionsList) - calls, 3, "none was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_that_misses_most_contacts_is_believed_when_a_later_one_confirms_it() {
    let fixture = Fixture::with(30).await;
    check_done(&fixture.sync().await, false);
    let contacts = fixture.count("contacts").await;
    assert!(contacts > 20);
    fixture.world().add_address_book(fixture.user, 0).unwrap();
    check_done(&fixture.sync().await, false);
    // Another one immediately after sees the same trouble.
    check_done(&fixture.sync().await, false);
    assert_eq!(fixture.count("contacts WHERE archived").await, 0);
    let confirming = fixture.next_part().await;
    fixture.stack.advance_to(confirming.due);
    let answer = fixture.service.deliver(confirming).await;
    check_done(&answer, false);
    assert_eq!(fixture.count("contacts WHERE archived").await, contacts);
    assert_eq!(
        fixture.count("jobs.contacts_sync_state WHERE doubted_at IS NULL AND sync_token IS NOT NULL").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_are_there_again_end_the_doubt() {
    let fixture = Fixture::with(30).await;
    check_done(&fixture.sync().await, false);
    let people = fixture.world().people(fixture.user).unwrap();
    for person in &people {
        fixture.world().delete_person(fixture.user, &person.resource_name).unwrap();
    }
    check_done(&fixture.sync_as("full").await, false);
    for person in &people {
        fixture.world().restore_person(fixture.user, &person.resource_name, false).unwrap();
    }
    let confirming = fixture.next_part().await;
    fixture.stack.advance_to(confirming.due);
    check_done(&fixture.service.deliver(confirming).await, false);
    assert_eq!(fixture.count("jobs.contacts_sync_state WHERE doubted_at IS NULL").await, 1);
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_listing_that_another_sync_replaced_archives_no_contact() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 1, Times::Count(1));
    check_done(&fixture.sync().await, true);
    let late = fixture.next_part().await;
    // The part is so late that its sync has lost its lock.
    fixture.stack.run("DELETE FROM jobs.sync_locks").await;
    check_done(&fixture.sync().await, false);
    let calls = fixture.calls(Call::PeopleConnectionsList);
    for state_is_left in [true, false] {
        if !state_is_left {
            fixture.stack.run("DELETE FROM jobs.contacts_sync_state").await;
        }
        fixture.stack.redis(&["FLUSHALL"]).await;
        let answer = fixture.service.deliver(late.clone().again(1)).await;
        assert_eq!((answer.outcome(), answer.reason()), ("skipped", "superseded"), "{answer:?}");
    }
    assert_eq!(fixture.calls(Call::PeopleConnectionsList), calls);
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_failed_after_a_page_continues_behind_it() {
    let fixture = Fixture::new().await;
    fixture.fail(FaultKind::TooManyRequests { retry_after_s: 30 }, 1, Times::Count(1));
    check_done(&fixture.sync().await, true);
    let part = fixture.next_part().await;
    // Its second page is written; the third one fails.
    fixture.fail(FaultKind::ServerError { status: 500 }, 1, Times::Count(2));
    assert_eq!(fixture.service.deliver(part.clone()).await.outcome(), "retry");
    fixture.world().clear_faults();
    let calls = fixture.calls(Call::PeopleConnectionsList);
    check_done(&fixture.service.deliver(fixture.next_part().await).await, false);
    assert_eq!(fixture.calls(Call::PeopleConnectionsList) - calls, 1, "only the last page is missing");
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_beyond_googles_quota_for_first_pages_waits() {
    let fixture = Fixture::new().await;
    fixture.world().limit_full_syncs(fixture.user, Some(0)).unwrap();
    check_done(&fixture.sync().await, true);
    fixture.world().limit_full_syncs(fixture.user, None).unwrap();
    check_done(&fixture.service.deliver(fixture.next_part().await).await, false);
    fixture.check_complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_turned_full_and_waits_before_its_first_page_stays_full() {
    let fixture = Fixture::new().await;
    check_done(&fixture.sync().await, false);
    fixture.world().expire_sync_tokens(fixture.user).unwrap();
    fixture.world().limit_full_syncs(fixture.user, Some(0)).unwrap();
    check_done(&fixture.sync().await, true);
    fixture.world().limit_full_syncs(fixture.user, None).unwrap();
    let calls = fixture.calls(Call::PeopleConnectionsList);
    let answer = fixture.service.deliver(fixture.next_part().await).await;
    check_done(&answer, false);
    assert_eq!(answer.body["result"]["syncType"], "full", "{answer:?}");
    assert_eq!(fixture.calls(Call::PeopleConnectionsList) - calls, 3, "the expired token is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_without_a_change_that_another_one_overtook_stores_nothing() {
    let fixture = Arc::new(Fixture::with(30).await);
    check_done(&fixture.sync().await, false);
    // The other one ends when this one has read the sync token, and asks whether it may call Google.
    let (other, has_ended) = (Arc::clone(&fixture), Arc::new(AtomicBool::new(false)));
    let proxy = RedisProxy::start(&fixture.stack.gateway.url(), move |_| {
        let (other, has_ended) = (Arc::clone(&other), Arc::clone(&has_ended));
        async move {
            if !has_ended.swap(true, Ordering::SeqCst) {
                other.stack.run("UPDATE jobs.contacts_sync_state SET sync_token = 'newer'").await;
            }
            ProxyAction::Pass
        }
    });
    let redis = ("UPSTASH_REDIS_REST_URL", proxy.url("job"));
    let environment = fixture.google.environment().into_iter().chain([redis]);
    let job = GoogleContactsSync::new(&mut fixture.stack.setup(environment)).unwrap();
    let service = fixture.stack.service_with(job, fixture.google.environment());
    let answer = service.deliver(fixture.task()).await;
    assert_eq!((answer.outcome(), answer.reason()), ("skipped", "superseded"), "{answer:?}");
    assert_eq!(fixture.count("jobs.contacts_sync_state WHERE sync_token = 'newer'").await, 1);
    assert_eq!(fixture.count("google_contacts_sync_state WHERE last_incremental_sync_at IS NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_is_open_while_a_confirming_sync_is_enqueued() {
    let fixture = Fixture::with(30).await;
    check_done(&fixture.sync().await, false);
    fixture.world().add_address_book(fixture.user, 0).unwrap();
    let cloud_tasks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ("CLOUD_TASKS_URL", format!("http://{}", cloud_tasks.local_addr().unwrap()));
    let environment = fixture.google.environment().into_iter().chain([url]);
    let job = GoogleContactsSync::new(&mut fixture.stack.setup(environment)).unwrap();
    let service = fixture.stack.service_with(job, fixture.google.environment());
    let stack = &fixture.stack;
    let asked = async move {
        let _never_answered = cloud_tasks.accept().await.unwrap();
        let open = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        stack.rows::<(i64,)>(open).await
    };
    let (answer, open) = tokio::join!(service.deliver(fixture.task()), asked);
    assert_eq!((answer.status, open), (503, vec![(0,)]), "{answer:?}");
}
