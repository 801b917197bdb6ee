//! One run per user, its pages, and what it does at its end.

use std::sync::Arc;
use std::time::Duration;

use catchup::db::contacts::{BegunWith, Contacts, MissedContacts};
use catchup::payload::Integration::GoogleContacts;
use catchup::payload::SyncType;
use chrono::TimeDelta;
use shared::telemetry::{Counter, Scope};
use tests::database::{Database, now};
use tests::within;
use uuid::Uuid;

use super::{AS_IT_IS, begin, end, insert, listed, more, own, page, people, store, take};

/// Time stands still here: without this, contacts are as young as the run.
const SYNCED_BEFORE: &str = "UPDATE contacts SET last_synced_at = last_synced_at - interval '1 minute'";

#[tokio::test]
async fn a_full_sync_archives_only_contacts_that_it_did_not_list() {
    let database = Database::new().await;
    let (user, stranger) = (database.user(&[GoogleContacts]).await, database.user(&[GoogleContacts]).await);
    let ids = insert(&database, user, &people(1..=3)).await;
    insert(&database, stranger, &people([9])).await;
    own(&database, user, "a@b.c", "", AS_IT_IS).await;
    database.run(SYNCED_BEFORE).await;
    let (run, new, first, last) = (Uuid::new_v4(), BegunWith::default(), more(), end());
    let seen = ["people/c1", "people/c2"];
    assert!(take(&database, user, listed(run, 0, &new, &first), &seen, &[]).await);
    // Another sync brings a new person, whom this one's pages were too early for.
    let inserted = insert(&database, user, &people([4, 5])).await;
    let seen = ["people/c2", "people/c5"];
    assert!(take(&database, user, listed(run, 1, &new, &last), &seen, &inserted[1..]).await);
    let mut last = page(&database, user).await;
    assert!(last.hold_end(run, true).await.unwrap());
    assert_eq!(last.gather_unseen(run).await.unwrap(), 1);
    assert_eq!(last.missed(run).await.unwrap(), MissedContacts { unseen: 1, before: 4 });
    assert_eq!(last.archive_unseen(now()).await.unwrap(), Some(vec![ids[2]]));
    assert_eq!(last.archive_unseen(now()).await.unwrap(), None);
    last.commit().await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts WHERE archived").await, 1);
}

#[tokio::test]
async fn unseen_contacts_are_archived_in_steps() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    insert(&database, user, &people(0..2_500)).await;
    database.run(SYNCED_BEFORE).await;
    let (run, last) = (Uuid::new_v4(), end());
    assert!(take(&database, user, listed(run, 0, &BegunWith::default(), &last), &[], &[]).await);
    let mut page = page(&database, user).await;
    assert_eq!(page.gather_unseen(run).await.unwrap(), 2_500);
    let mut steps = Vec::new();
    while let Some(archived) = page.archive_unseen(now()).await.unwrap() {
        steps.push(archived.len());
    }
    assert_eq!(steps, [2_000, 500]);
}

#[tokio::test]
async fn a_full_sync_reads_again_only_pages_on_which_it_inserted_contacts_with_the_keys_of_a_candidate() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let mut contacts = people(1..=4);
    contacts[3].fields.phone = Some("+44 20".into());
    let ids = insert(&database, user, &contacts).await;
    for (email, phone) in [("1@EXAMPLE.org ", ""), ("", "4420")] {
        own(&database, user, email, phone, "google_resource_name = gen_random_uuid()").await;
    }
    let (run, new, next) = (Uuid::new_v4(), BegunWith::default(), more());
    let inserted = [&ids[..0], &ids[..2], &ids[2..3], &ids[3..]];
    for (number, inserted) in (0..).zip(inserted) {
        let seen = ["people/c1", "people/c2", "people/c3", "people/c4"];
        assert!(take(&database, user, listed(run, number, &new, &next), &seen, inserted).await);
    }
    let mut page = page(&database, user).await;
    assert_eq!(page.gather_unseen(run).await.unwrap(), 2);
    assert_eq!(page.pages_with_matches(run).await.unwrap(), [1, 3]);
}

#[tokio::test]
async fn a_contact_that_changed_after_a_sync_inserted_it_is_not_read_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let ids = insert(&database, user, &people(1..=2)).await;
    database.run(format!("UPDATE contacts SET instagram = '@' WHERE id = '{}'", ids[1])).await;
    let (run, next) = (Uuid::new_v4(), more());
    assert!(take(&database, user, listed(run, 0, &BegunWith::default(), &next), &[], &ids).await);
    let inserted = page(&database, user).await.inserted(run, 0).await.unwrap();
    assert_eq!(inserted.iter().map(|contact| contact.id).collect::<Vec<_>>(), ids[..1]);
}

#[tokio::test]
async fn a_page_that_was_written_is_not_written_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let (run, new, next) = (Uuid::new_v4(), BegunWith::default(), more());
    let listed = |number| listed(run, number, &new, &next);
    assert!(!take(&database, user, listed(1), &[], &[]).await, "no page was written before");
    assert!(take(&database, user, listed(0), &[], &[]).await);
    assert!(!take(&database, user, listed(0), &[], &[]).await, "delivered twice");
    assert!(!take(&database, user, listed(2), &[], &[]).await, "one is missing in between");
    assert!(take(&database, user, listed(1), &[], &[]).await);
    assert!(!take(&database, user, listed(1), &[], &[]).await, "delivered twice");
    assert_eq!(database.of::<Contacts>().place(user, run).await.unwrap(), Some((2, more())));
}

#[tokio::test]
async fn a_late_part_of_a_run_that_was_replaced_or_ended_writes_and_archives_nothing() {
    for ended in [false, true] {
        let database = Database::new().await;
        let user = database.user(&[GoogleContacts]).await;
        insert(&database, user, &people(1..=3)).await;
        database.run(SYNCED_BEFORE).await;
        let contacts = database.of::<Contacts>();
        let (old, new, next, last) = (Uuid::new_v4(), Uuid::new_v4(), more(), end());
        let begun_with = begin(&database, user).await;
        assert!(take(&database, user, listed(old, 0, &begun_with, &next), &[], &[]).await);
        if ended {
            store(&database, user, SyncType::Full, "token", true).await;
        } else {
            let begun_with = begin(&database, user).await;
            assert!(take(&database, user, listed(new, 0, &begun_with, &next), &[], &[]).await);
        }
        assert_eq!(contacts.place(user, old).await.unwrap(), None);
        assert!(!take(&database, user, listed(old, 1, &begun_with, &last), &["people/c1"], &[]).await);
        let mut late = page(&database, user).await;
        for is_full in [false, true] {
            assert!(!late.hold_end(old, is_full).await.unwrap());
        }
        assert_eq!(late.gather_unseen(old).await.unwrap(), 0);
        assert_eq!(late.archive_unseen(now()).await.unwrap(), None);
        late.commit().await.unwrap();
        contacts.forget_pages(user).await.unwrap();
        let pages: Vec<(Uuid,)> = database.rows("SELECT run FROM jobs.contacts_sync_pages").await;
        assert_eq!(pages, if ended { vec![] } else { vec![(new,)] });
    }
}

#[tokio::test]
async fn a_sync_that_another_one_overtook_writes_nothing() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let next = end();
    let writes = async |begun_with: &BegunWith| {
        let mut first = page(&database, user).await;
        let taken = first.take_place(listed(Uuid::new_v4(), 0, begun_with, &next), now()).await.unwrap();
        drop(first);
        let held = page(&database, user).await.hold_begin(begun_with).await.unwrap();
        (taken, held)
    };
    let mut late = vec![begin(&database, user).await];
    assert_eq!(late, [BegunWith::default()]);
    // A first sync, one that is under way, and one that found nothing.
    store(&database, user, SyncType::Full, "first", true).await;
    late.push(begin(&database, user).await);
    let run = listed(Uuid::new_v4(), 0, &late[1], &next);
    assert!(take(&database, user, run, &[], &[]).await);
    late.push(begin(&database, user).await);
    store(&database, user, SyncType::Incremental, "second", false).await;
    for begun_with in late {
        assert_eq!(writes(&begun_with).await, (false, false), "{begun_with:?}");
    }
    assert_eq!(writes(&begin(&database, user).await).await, (true, true));
}

#[tokio::test]
async fn a_listing_of_which_a_page_is_missing_archives_no_contact() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let (run, new, next, last) = (Uuid::new_v4(), BegunWith::default(), more(), end());
    for (number, next) in [(0, &next), (1, &last)] {
        assert!(take(&database, user, listed(run, number, &new, next), &[], &[]).await);
    }
    assert!(page(&database, user).await.hold_end(run, true).await.unwrap());
    database.run("DELETE FROM jobs.contacts_sync_pages WHERE page = 0").await;
    assert!(!page(&database, user).await.hold_end(run, true).await.unwrap());
}

#[tokio::test]
async fn pages_of_earlier_runs_are_removed_in_steps() {
    let database = Database::new().await;
    let (user, stranger) = (database.user(&[GoogleContacts]).await, database.user(&[GoogleContacts]).await);
    let (run, next) = (Uuid::new_v4(), more());
    for user in [user, stranger] {
        database
            .run(format!(
                "INSERT INTO jobs.contacts_sync_pages
                 SELECT '{user}', gen_random_uuid(), number, '{{}}', '{{}}' FROM generate_series(1, 250) AS number"
            ))
            .await;
    }
    assert!(take(&database, user, listed(run, 0, &BegunWith::default(), &next), &[], &[]).await);
    let scope = Arc::new(Scope::default());
    let meter = Arc::clone(&scope.meter);
    let contacts = database.of::<Contacts>();
    scope.enter(contacts.forget_pages(user)).await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.contacts_sync_pages").await, 251);
    assert!(contacts.place(user, run).await.unwrap().is_some());
    assert!(meter.get(Counter::SqlStatement) > 1, "not all in one statement");
}

#[tokio::test]
async fn the_sync_state_says_where_the_sync_continues() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let contacts = database.of::<Contacts>();
    assert_eq!(contacts.sync_state(user, false).await.unwrap().token, None);
    insert(&database, user, &people(1..=3)).await;
    // The application's, which was given for other parameters.
    database
        .run(format!(
            "INSERT INTO google_contacts_sync_state (user_id, sync_token) VALUES ('{user}', 'theirs')"
        ))
        .await;
    assert_eq!(contacts.sync_state(user, false).await.unwrap().token, None);
    let token = store(&database, user, SyncType::Full, "token", true).await;
    let state = contacts.sync_state(user, false).await.unwrap();
    assert_eq!((state.token.as_ref(), state.linked), (Some(&token), 3));

    let status = "SELECT last_sync_status FROM google_contacts_sync_state";
    assert_eq!(contacts.sync_state(user, true).await.unwrap(), state, "a sync that begins forgets nothing");
    assert_eq!(database.value::<String>(status).await, "in_progress");
    contacts.sync_refused(user, "token_revoked").await.unwrap();
    assert_eq!(database.value::<String>(status).await, "failed");

    contacts.sync_failed(user, "google answers 500").await.unwrap();
    assert_eq!(contacts.sync_state(user, false).await.unwrap(), state, "a failure forgets nothing");
    assert_eq!(
        database.value::<String>("SELECT last_sync_status FROM google_contacts_sync_state").await,
        "failed"
    );
    let token = store(&database, user, SyncType::Incremental, "next", false).await;
    assert_eq!(contacts.sync_state(user, false).await.unwrap().token, Some(token));
    let row = "SELECT sync_token, total_contacts_synced, last_full_sync_at IS NOT NULL, last_incremental_sync_at IS NOT NULL,
                      last_sync_status, last_sync_error FROM google_contacts_sync_state";
    let expected = (None, 3, true, true, "success".to_owned(), None);
    assert_eq!(
        database.rows::<(Option<String>, i32, bool, bool, String, Option<String>)>(row).await,
        [expected]
    );
}

#[tokio::test]
async fn a_doubt_is_remembered_from_the_first_time_until_a_sync_is_believed() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let contacts = database.of::<Contacts>();
    store(&database, user, SyncType::Full, "token", true).await;
    let first = now();
    for hours in [0, 1] {
        let mut page = page(&database, user).await;
        page.doubt(first + TimeDelta::hours(hours)).await.unwrap();
        page.commit().await.unwrap();
        let state = contacts.sync_state(user, false).await.unwrap();
        assert_eq!((state.token, state.doubted_at), (None, Some(first)));
    }
    store(&database, user, SyncType::Full, "token", true).await;
    assert_eq!(contacts.sync_state(user, false).await.unwrap().doubted_at, None);
}

#[tokio::test]
async fn two_pages_of_one_user_wait_for_each_other() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let run = Uuid::new_v4();
    let mut first = page(&database, user).await;
    let next = more();
    let new = BegunWith::default();
    assert!(first.take_place(listed(run, 0, &new, &next), now()).await.unwrap());
    let second = {
        let db = database.db.clone();
        tokio::spawn(async move {
            let mut page = Contacts::from(db.clone()).page(user).await.unwrap();
            let next = more();
            // As if it began with the first one's page.
            let begun_with = BegunWith { run: Some(run), sync_token: None };
            assert!(page.take_place(listed(Uuid::new_v4(), 0, &begun_with, &next), now()).await.unwrap());
            page.linked(&["people/c1"]).await.unwrap().len()
        })
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let waits = || async {
        assert!(!second.is_finished());
        database.value::<i64>(waiting).await > 0
    };
    within(Duration::from_secs(20), "the second page waits", waits).await;
    first.insert(&people([1]), now()).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), 1);
}
