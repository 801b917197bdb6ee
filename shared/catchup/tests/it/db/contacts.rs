//! Pages of an address book, and what a run remembers between them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use catchup::db::contacts::{
    ContactUpdate, Contacts, ContactsPage, GivenToken, ListedPage, MatchKeys, Membership, NewContact,
    PersonFields, Place, Unseen,
};
use catchup::payload::Integration::GoogleContacts;
use catchup::payload::SyncType;
use chrono::TimeDelta;
use shared::telemetry::{Counter, Scope};
use tests::database::{Database, now};
use tests::within;
use uuid::Uuid;

fn person(number: u32) -> PersonFields {
    PersonFields {
        resource_name: format!("people/c{number}"),
        etag: Some("1".into()),
        name: format!("Person {number}"),
        phone: None,
        email: Some(format!("{number}@example.org")),
        linked_in: None,
        location: None,
        custom_notes: None,
    }
}

fn new(number: u32) -> NewContact {
    NewContact { fields: person(number), groups: Vec::new() }
}

fn people(numbers: impl IntoIterator<Item = u32>) -> Vec<NewContact> {
    numbers.into_iter().map(new).collect()
}

async fn insert(database: &Database, user: Uuid, people: &[NewContact]) -> Vec<Uuid> {
    let mut page = database.of::<Contacts>().page(user).await.unwrap();
    let inserted = page.insert(people, now()).await.unwrap();
    page.commit().await.unwrap();
    inserted.into_iter().map(|(_, id)| id).collect()
}

/// A contact of the user's own.
async fn own(database: &Database, user: Uuid, email: &str, phone: &str, more: &str) -> Uuid {
    let id = Uuid::new_v4();
    let age = format!("'{}'", now());
    database
        .run(format!(
            "INSERT INTO contacts (id, user_id, name, email, phone, created_at)
             VALUES ('{id}', '{user}', 'own', NULLIF('{email}', ''), NULLIF('{phone}', ''), {age});
             UPDATE contacts SET {more} WHERE id = '{id}'"
        ))
        .await;
    id
}

const AS_IT_IS: &str = "name = name";

fn key<'a>(email: &'a str, phone: &'a str) -> MatchKeys<'a> {
    let some = |text: &'a str| (!text.is_empty()).then_some(text);
    MatchKeys { email: some(email), phone: some(phone) }
}

async fn page(database: &Database, user: Uuid) -> ContactsPage {
    database.of::<Contacts>().page(user).await.unwrap()
}

async fn matches(database: &Database, user: Uuid, keys: &[MatchKeys<'_>]) -> Vec<(usize, Uuid)> {
    let mut page = page(database, user).await;
    page.gather_free().await.unwrap();
    let found = page.match_free(keys, &[]).await.unwrap();
    found.into_iter().map(|(index, contact)| (index, contact.id)).collect()
}

#[tokio::test]
async fn a_person_is_matched_by_e_mail_case_folded_then_by_the_digits_of_the_phone() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let by_email = own(&database, user, " Ada@Example.ORG", "", AS_IT_IS).await;
    let by_phone = own(&database, user, "", "+44 (20) 1-2", AS_IT_IS).await;
    own(&database, user, "", "no digits", AS_IT_IS).await;
    let stranger = database.user(&[GoogleContacts]).await;
    own(&database, stranger, "other@example.org", "", AS_IT_IS).await;
    let keys = [
        key("ada@example.org", "442012"),
        key("x@y.z", "44-20-12"),
        key("other@example.org", ""),
        key("", "none"),
    ];
    assert_eq!(matches(&database, user, &keys).await, [(0, by_email), (1, by_phone)]);
}

#[tokio::test]
async fn of_several_contacts_the_best_is_taken_and_none_twice() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let archived = own(&database, user, "a@b.c", "", "archived = true, created_at = '2001-01-01'").await;
    let young = own(&database, user, "a@b.c", "1", AS_IT_IS).await;
    let old = own(&database, user, "A@b.c", "", "created_at = '2002-01-01'").await;
    own(&database, user, "a@b.c", "", "google_resource_name = 'people/taken'").await;
    let same = key("a@b.c", "");
    assert_eq!(matches(&database, user, &[same]).await, [(0, old)]);
    assert_eq!(matches(&database, user, &[same, same]).await, [(0, old), (1, young)]);
    let expected = [(0, old), (1, young), (2, archived)];
    assert_eq!(matches(&database, user, &[same, same, same, same]).await, expected);
    // By phone only what no person took by e-mail.
    assert_eq!(matches(&database, user, &[key("", "1"), same, same]).await, [(1, old), (2, young)]);
}

#[tokio::test]
async fn a_contact_that_was_linked_by_an_earlier_page_is_not_matched_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let id = own(&database, user, "a@b.c", "", AS_IT_IS).await;
    let mut page = page(&database, user).await;
    assert_eq!(page.gather_free().await.unwrap(), 1);
    let update = ContactUpdate { id, notes_before: None, fields: person(1) };
    page.update(&[update], now()).await.unwrap();
    assert!(page.match_free(&[key("a@b.c", "")], &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_update_writes_googles_columns_and_no_other() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let kept = "instagram = 'i', x_handle = 'x', timezone = 't', frequency_preference = 'weekly', custom_notes = 'mine',
                last_contact_date = '2020-01-01', other_social_media = '{}'";
    let id = own(&database, user, "a@b.c", "1", kept).await;
    let fields = PersonFields { custom_notes: Some("mine\nEngineer at Acme".into()), ..person(1) };
    let mut page = page(&database, user).await;
    page.update(&[ContactUpdate { id, notes_before: Some("mine".into()), fields }], now()).await.unwrap();
    page.commit().await.unwrap();
    let row: String = database
        .value("SELECT (to_jsonb(c) - 'id' - 'user_id' - 'created_at' - 'updated_at')::text FROM contacts c")
        .await;
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    for (column, value) in [
        ("name", "Person 1"),
        ("email", "1@example.org"),
        ("google_resource_name", "people/c1"),
        ("google_etag", "1"),
        ("custom_notes", "mine\nEngineer at Acme"),
        ("instagram", "i"),
        ("x_handle", "x"),
        ("timezone", "t"),
        ("frequency_preference", "weekly"),
        ("source", "manual"),
    ] {
        assert_eq!(row[column], value, "{column}");
    }
    assert!(
        row["phone"].is_null() && !row["last_contact_date"].is_null() && !row["other_social_media"].is_null()
    );
}

#[tokio::test]
async fn a_note_that_the_user_changes_meanwhile_is_left_alone() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let id = own(&database, user, "", "", "custom_notes = 'just written'").await;
    let fields = PersonFields { custom_notes: Some("merged with what was there before".into()), ..person(1) };
    let mut page = page(&database, user).await;
    page.update(&[ContactUpdate { id, notes_before: None, fields }], now()).await.unwrap();
    page.commit().await.unwrap();
    assert_eq!(database.value::<String>("SELECT custom_notes FROM contacts").await, "just written");
}

#[tokio::test]
async fn a_person_whom_another_sync_inserted_first_is_not_inserted_twice() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    assert_eq!(insert(&database, user, &people([1, 2])).await.len(), 2);
    assert_eq!(insert(&database, user, &people([2, 3])).await.len(), 1);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts WHERE source = 'google'").await, 3);
}

#[tokio::test]
async fn the_deleted_are_archived_once_and_leave_their_groups() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let ids = insert(&database, user, &people([1, 2])).await;
    let mut page = page(&database, user).await;
    let joined: Vec<_> =
        ids.iter().map(|id| Membership { contact_id: *id, group: "contactGroups/g".into() }).collect();
    page.change_memberships(&joined, &[]).await.unwrap();
    assert_eq!(page.archive(&["people/c1", "people/c9"], false, now()).await.unwrap(), [ids[0]]);
    assert!(page.archive(&["people/c1"], false, now()).await.unwrap().is_empty());
    page.commit().await.unwrap();
    let rows = "SELECT archived, archived_at IS NOT NULL FROM contacts ORDER BY name";
    assert_eq!(database.rows::<(bool, bool)>(rows).await, [(true, true), (false, false)]);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contact_google_memberships").await, 1);
}

/// Takes the place of a page, and commits it with those it listed and inserted.
async fn take(
    database: &Database,
    user: Uuid,
    listed: ListedPage<'_>,
    seen: &[&str],
    inserted: &[Uuid],
) -> bool {
    let mut page = page(database, user).await;
    let taken = page.take_place(listed, now()).await.unwrap();
    if taken {
        page.mark_seen(listed.run, listed.number, seen, inserted).await.unwrap();
    }
    page.commit().await.unwrap();
    taken
}

fn more() -> Place {
    Place::Page("more".into())
}

fn end() -> Place {
    Place::End("sync".into())
}

#[tokio::test]
async fn a_full_sync_archives_only_contacts_that_it_did_not_list() {
    let database = Database::new().await;
    let (user, stranger) = (database.user(&[GoogleContacts]).await, database.user(&[GoogleContacts]).await);
    let ids = insert(&database, user, &people(1..=3)).await;
    insert(&database, stranger, &people([9])).await;
    own(&database, user, "a@b.c", "", AS_IT_IS).await;
    database.run("UPDATE contacts SET last_synced_at = last_synced_at - interval '1 minute'").await;
    let run = Uuid::new_v4();
    let (first, last) = (more(), end());
    let listed = ListedPage { run, number: 0, since: None, next: &first };
    assert!(take(&database, user, listed, &["people/c1", "people/c2"], &[]).await);
    // Another sync brings a new person, whom this one's pages were too early for.
    let inserted = insert(&database, user, &people([4, 5])).await;
    let listed = ListedPage { number: 1, next: &last, ..listed };
    assert!(take(&database, user, listed, &["people/c2", "people/c5"], &inserted[1..]).await);
    let mut last = page(&database, user).await;
    assert!(last.hold_end(run, true).await.unwrap());
    assert_eq!(last.unseen(run).await.unwrap(), Unseen { unseen: 1, before: 4 });
    assert_eq!(last.archive_unseen(run, now()).await.unwrap(), [ids[2]]);
    assert!(last.archive_unseen(run, now()).await.unwrap().is_empty());
    last.commit().await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts WHERE archived").await, 1);
}

#[tokio::test]
async fn a_page_that_was_written_is_not_written_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let (run, next) = (Uuid::new_v4(), more());
    let listed = |number| ListedPage { run, number, since: None, next: &next };
    assert!(!take(&database, user, listed(1), &[], &[]).await, "no page was written before");
    assert!(take(&database, user, listed(0), &[], &[]).await);
    assert!(!take(&database, user, listed(2), &[], &[]).await, "one is missing in between");
    assert!(take(&database, user, listed(1), &[], &[]).await);
    assert!(!take(&database, user, listed(1), &[], &[]).await, "delivered twice");
    assert_eq!(database.of::<Contacts>().place(user, run).await.unwrap(), Some((2, more())));
}

#[tokio::test]
async fn a_late_part_of_a_run_that_was_replaced_or_ended_writes_and_archives_nothing() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    insert(&database, user, &people(1..=3)).await;
    let contacts = database.of::<Contacts>();
    let (old, new, next, last) = (Uuid::new_v4(), Uuid::new_v4(), more(), end());
    let listed = |run, number, next| ListedPage { run, number, since: None, next };
    for ended in [false, true] {
        assert!(take(&database, user, listed(old, 0, &next), &[], &[]).await);
        if ended {
            database.run("DELETE FROM jobs.contacts_sync_state").await;
        } else {
            assert!(take(&database, user, listed(new, 0, &next), &[], &[]).await);
        }
        assert_eq!(contacts.place(user, old).await.unwrap(), None);
        assert!(!take(&database, user, listed(old, 1, &last), &["people/c1"], &[]).await);
        let mut late = page(&database, user).await;
        assert!(!late.hold_end(old, false).await.unwrap());
        assert!(late.archive_unseen(old, now()).await.unwrap().is_empty());
        late.commit().await.unwrap();
        database.run("UPDATE jobs.contacts_sync_state SET run = NULL").await;
        contacts.forget_pages(user).await.unwrap();
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts WHERE archived").await, 0);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.contacts_sync_pages").await, 0);
}

#[tokio::test]
async fn changes_since_a_token_that_is_not_the_users_any_more_are_not_written() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    store(&database, user, SyncType::Full, "newer", true).await;
    let next = end();
    let listed = |since| ListedPage { run: Uuid::new_v4(), number: 0, since: Some(since), next: &next };
    let mut page = page(&database, user).await;
    assert!(!page.take_place(listed("older"), now()).await.unwrap());
    assert!(page.take_place(listed("newer"), now()).await.unwrap());
}

#[tokio::test]
async fn a_listing_of_which_a_page_is_missing_archives_nobody() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let (run, next, last) = (Uuid::new_v4(), more(), end());
    for (number, next) in [(0, &next), (1, &last)] {
        assert!(take(&database, user, ListedPage { run, number, since: None, next }, &[], &[]).await);
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
    assert!(take(&database, user, ListedPage { run, number: 0, since: None, next: &next }, &[], &[]).await);
    let scope = Arc::new(Scope::default());
    let meter = Arc::clone(&scope.meter);
    let contacts = database.of::<Contacts>();
    scope.enter(contacts.forget_pages(user)).await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.contacts_sync_pages").await, 251);
    assert!(contacts.place(user, run).await.unwrap().is_some());
    assert!(meter.get(Counter::SqlStatement) > 1, "not all in one statement");
}

/// A contact is archived by a sync; `by_hand`, the user then does it again in the application.
async fn archived(database: &Database, by_hand: bool) -> (Uuid, Uuid) {
    let user = database.user(&[GoogleContacts]).await;
    let id = insert(database, user, &people([1])).await[0];
    let mut page = page(database, user).await;
    page.archive(&["people/c1"], false, now()).await.unwrap();
    page.commit().await.unwrap();
    if by_hand {
        database.run("UPDATE contacts SET archived_at = archived_at + interval '1 hour'").await;
    }
    (user, id)
}

const ARCHIVED: &str = "SELECT archived, archived_at IS NOT NULL, google_resource_name FROM contacts";

#[tokio::test]
async fn a_person_who_returns_is_no_longer_archived_unless_the_user_wants_it() {
    for by_hand in [false, true] {
        let database = Database::new().await;
        let (user, id) = archived(&database, by_hand).await;
        let mut page = page(&database, user).await;
        assert_eq!(page.linked(&["people/c1"]).await.unwrap()[0].archived_by_sync, !by_hand);
        let update = ContactUpdate { id, notes_before: None, fields: person(1) };
        page.update(&[update], now() + TimeDelta::hours(2)).await.unwrap();
        page.commit().await.unwrap();
        let expected = [(by_hand, by_hand, "people/c1".to_owned())];
        assert_eq!(database.rows::<(bool, bool, String)>(ARCHIVED).await, expected);
    }
}

#[tokio::test]
async fn a_person_who_returns_under_another_name_is_matched_unless_the_contact_is_taken() {
    for by_hand in [false, true] {
        let database = Database::new().await;
        let (user, id) = archived(&database, by_hand).await;
        let mut page = page(&database, user).await;
        page.gather_free().await.unwrap();
        let keys = [key("1@example.org", "")];
        let found = page.match_free(&keys, &[]).await.unwrap();
        let found: Vec<_> =
            found.into_iter().map(|(_, contact)| (contact.id, contact.resource_name)).collect();
        let expected = [(id, Some("people/c1".to_owned()))];
        assert_eq!(found, if by_hand { &[][..] } else { &expected[..] });
        assert!(page.match_free(&keys, &[id]).await.unwrap().is_empty());
    }
}

async fn store(
    database: &Database,
    user: Uuid,
    sync_type: SyncType,
    token: &str,
    recount: bool,
) -> GivenToken {
    let token = GivenToken { token: token.into(), given_at: now(), parameters: "pageSize=1".into() };
    let mut page = page(database, user).await;
    page.store_sync_state(sync_type, &token, recount, now()).await.unwrap();
    page.commit().await.unwrap();
    token
}

#[tokio::test]
async fn the_sync_state_says_where_the_sync_continues() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let contacts = database.of::<Contacts>();
    assert_eq!(contacts.sync_state(user).await.unwrap().token, None);
    insert(&database, user, &people(1..=3)).await;
    // The application's, which was given for other parameters.
    database
        .run(format!(
            "INSERT INTO google_contacts_sync_state (user_id, sync_token) VALUES ('{user}', 'theirs')"
        ))
        .await;
    assert_eq!(contacts.sync_state(user).await.unwrap().token, None);
    let token = store(&database, user, SyncType::Full, "token", true).await;
    let state = contacts.sync_state(user).await.unwrap();
    assert_eq!((state.token.as_ref(), state.linked), (Some(&token), 3));

    contacts.sync_failed(user, "google answers 500").await.unwrap();
    assert_eq!(contacts.sync_state(user).await.unwrap(), state, "a failure forgets nothing");
    assert_eq!(
        database.value::<String>("SELECT last_sync_status FROM google_contacts_sync_state").await,
        "failed"
    );
    let token = store(&database, user, SyncType::Incremental, "next", false).await;
    assert_eq!(contacts.sync_state(user).await.unwrap().token, Some(token));
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
        let state = contacts.sync_state(user).await.unwrap();
        assert_eq!((state.token, state.doubted_at), (None, Some(first)));
    }
    store(&database, user, SyncType::Full, "token", true).await;
    assert_eq!(contacts.sync_state(user).await.unwrap().doubted_at, None);
}

#[tokio::test]
async fn what_the_user_wrote_is_told_from_what_google_did() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let mut contacts = people(1..=5);
    for contact in &mut contacts {
        contact.fields.custom_notes = Some("Engineer at Acme".into());
    }
    let ids = insert(&database, user, &contacts).await;
    database
        .run(format!(
            "UPDATE contacts SET circle_assigned_at = now() WHERE id = '{}';
             UPDATE contacts SET email = 'new' WHERE id = '{}';
             INSERT INTO interaction_logs (user_id, contact_id, date, type) VALUES ('{user}', '{}', now(), 'call');
             WITH g AS (INSERT INTO groups (user_id, name) VALUES ('{user}', 'mine') RETURNING id)
             INSERT INTO contact_groups (contact_id, group_id) SELECT '{}', id FROM g",
            ids[0], ids[1], ids[2], ids[3]
        ))
        .await;
    let mut page = page(&database, user).await;
    let own = page.own_data(&ids).await.unwrap();
    let own: Vec<_> = ids
        .iter()
        .map(|id| own.iter().find(|own| own.id == *id).map(|own| (own.has_own, own.was_changed)).unwrap())
        .collect();
    assert_eq!(own, [(true, true), (false, true), (true, false), (true, false), (false, false)]);

    page.retire(&ids, true, now()).await.unwrap();
    page.commit().await.unwrap();
    let left = "SELECT count(*) FROM contacts WHERE archived AND archived_at = last_synced_at AND google_resource_name IS NULL";
    assert_eq!(database.value::<i64>(left).await, 4, "only the one that nobody touched is deleted");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts").await, 4);
}

#[tokio::test]
async fn the_twin_of_a_contact_whose_person_is_gone_has_its_address_or_else_its_number() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let mut contacts = people(1..=5);
    contacts[1].fields.email = Some("1@EXAMPLE.org ".into());
    contacts[2].fields.phone = Some("+44 20".into());
    contacts[3].fields.phone = Some("4420".into());
    let ids = insert(&database, user, &contacts).await;
    own(&database, user, "5@example.org", "", AS_IT_IS).await;
    let mut page = page(&database, user).await;
    let gone = page.archive(&["people/c1", "people/c3", "people/c5"], false, now()).await.unwrap();
    let mut twins: Vec<_> =
        page.twins_of(&gone).await.unwrap().iter().map(|pair| (pair.old.id, pair.new.id)).collect();
    twins.sort_unstable();
    let mut expected = [(ids[0], ids[1]), (ids[2], ids[3])];
    expected.sort_unstable();
    assert_eq!(twins, expected);
}

#[tokio::test]
async fn two_pages_of_one_user_wait_for_each_other() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let run = Uuid::new_v4();
    let mut first = page(&database, user).await;
    let next = more();
    let listed = ListedPage { run, number: 0, since: None, next: &next };
    assert!(first.take_place(listed, now()).await.unwrap());
    let second = {
        let db = database.db.clone();
        tokio::spawn(async move {
            let mut page = Contacts::from(db.clone()).page(user).await.unwrap();
            let next = more();
            let listed = ListedPage { run: Uuid::new_v4(), number: 0, since: None, next: &next };
            assert!(page.take_place(listed, now()).await.unwrap());
            page.linked(&["people/c1"]).await.unwrap().len()
        })
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let waits = || async {
        assert!(!second.is_finished());
        database.value::<i64>(waiting).await > 0
    };
    within(Duration::from_secs(20), "the second page waits", waits).await;
    first.insert(&[new(1)], now()).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), 1);
}

/// A whole page takes as many statements for a thousand people as for one.
#[tokio::test]
async fn the_number_of_statements_does_not_depend_on_the_number_of_people() {
    let database = Database::new().await;
    let mut counts = Vec::new();
    for size in [1, 1000] {
        let user = database.user(&[GoogleContacts]).await;
        let mut own = String::new();
        for number in 0..size {
            let _ = write!(own, "('{user}', 'own', '{number}@example.org'),");
        }
        database
            .run(format!("INSERT INTO contacts (user_id, name, email) VALUES {}", own.trim_end_matches(',')))
            .await;
        let scope = Arc::new(Scope::default());
        let meter = Arc::clone(&scope.meter);
        Box::pin(scope.enter(sync_page(&database, user, size))).await;
        counts.push(meter.get(Counter::SqlStatement));
    }
    assert_eq!(counts[0], counts[1]);
}

async fn sync_page(database: &Database, user: Uuid, size: u32) {
    let run = Uuid::new_v4();
    let (known, new) = (people(0..size), people(size..2 * size));
    let names: Vec<&str> =
        known.iter().chain(&new).map(|person| person.fields.resource_name.as_str()).collect();
    let keys: Vec<_> = known
        .iter()
        .chain(&new)
        .map(|person| MatchKeys { email: person.fields.email.as_deref(), phone: None })
        .collect();
    let mut page = page(database, user).await;
    let next = more();
    let listed = ListedPage { run, number: 0, since: None, next: &next };
    assert!(page.take_place(listed, now()).await.unwrap());
    page.gather_free().await.unwrap();
    assert!(page.linked(&names).await.unwrap().is_empty());
    let matched = page.match_free(&keys, &[]).await.unwrap();
    assert_eq!(matched.len(), known.len());
    let updates: Vec<_> = matched
        .into_iter()
        .map(|(index, contact)| ContactUpdate {
            id: contact.id,
            notes_before: None,
            fields: known[index].fields.clone(),
        })
        .collect();
    page.update(&updates, now()).await.unwrap();
    let inserted = page.insert(&new, now()).await.unwrap();
    let joined: Vec<_> =
        inserted.into_iter().map(|(_, contact_id)| Membership { contact_id, group: "g".into() }).collect();
    page.change_memberships(&joined, &[]).await.unwrap();
    page.mark_seen(run, 0, &names, &[]).await.unwrap();
    page.commit().await.unwrap();
    let contacts = format!(
        "SELECT count(*) FROM contacts WHERE user_id = '{user}' AND google_resource_name IS NOT NULL"
    );
    assert_eq!(database.value::<i64>(&contacts).await, i64::from(2 * size));
}
