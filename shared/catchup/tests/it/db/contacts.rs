//! Pages of an address book, and what a run remembers between them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use catchup::db::contacts::{ContactUpdate, Contacts, ContactsPage, MatchKeys, Membership, PersonFields};
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

fn people(numbers: impl IntoIterator<Item = u32>) -> Vec<PersonFields> {
    numbers.into_iter().map(person).collect()
}

async fn insert(database: &Database, user: Uuid, people: &[PersonFields]) -> Vec<Uuid> {
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
    let run = Uuid::new_v4();
    let mut page = page(database, user).await;
    page.gather_unlinked(run, now()).await.unwrap();
    let found = page.match_unlinked(run, keys, &[]).await.unwrap();
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
    let run = Uuid::new_v4();
    let mut page = page(&database, user).await;
    page.gather_unlinked(run, now()).await.unwrap();
    let update = ContactUpdate { id, notes_before: None, fields: person(1) };
    page.update(&[update], now()).await.unwrap();
    assert!(page.match_unlinked(run, &[key("a@b.c", "")], &[]).await.unwrap().is_empty());
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
    assert_eq!(page.archive(&["people/c1", "people/c9"], now()).await.unwrap(), [ids[0]]);
    assert!(page.archive(&["people/c1"], now()).await.unwrap().is_empty());
    page.commit().await.unwrap();
    let rows = "SELECT archived, archived_at IS NOT NULL FROM contacts ORDER BY name";
    assert_eq!(database.rows::<(bool, bool)>(rows).await, [(true, true), (false, false)]);
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contact_google_memberships").await, 1);
}

#[tokio::test]
async fn a_full_sync_archives_only_contacts_that_it_did_not_list() {
    let database = Database::new().await;
    let (user, stranger) = (database.user(&[GoogleContacts]).await, database.user(&[GoogleContacts]).await);
    let ids = insert(&database, user, &people(1..=3)).await;
    insert(&database, stranger, &people([9])).await;
    own(&database, user, "a@b.c", "", AS_IT_IS).await;
    let (run, began_at) = (Uuid::new_v4(), now() + TimeDelta::minutes(1));
    database.of::<Contacts>().begin_run(run, user, began_at).await.unwrap();
    // Another sync brings a new person, whom this one's pages were too early for.
    let mut other = page(&database, user).await;
    other.insert(&[person(4)], began_at).await.unwrap();
    other.commit().await.unwrap();
    let mut met = page(&database, user).await;
    assert!(met.mark_seen(run, &["people/c1", "people/c2"]).await.unwrap());
    assert!(met.mark_seen(run, &["people/c2"]).await.unwrap());
    met.commit().await.unwrap();
    let mut last = page(&database, user).await;
    assert_eq!(last.archive_unseen(run, now()).await.unwrap(), Some(vec![ids[2]]));
    last.commit().await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts WHERE archived").await, 1);
    for table in ["runs", "seen", "unlinked"] {
        assert_eq!(
            database.value::<i64>(&format!("SELECT count(*) FROM jobs.contacts_sync_{table}")).await,
            0
        );
    }
}

/// A contact is archived by a sync; `by_hand`, the user then does it again in the application.
async fn archived(database: &Database, by_hand: bool) -> (Uuid, Uuid) {
    let user = database.user(&[GoogleContacts]).await;
    let id = insert(database, user, &people([1])).await[0];
    let mut page = page(database, user).await;
    page.archive(&["people/c1"], now()).await.unwrap();
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
        let run = Uuid::new_v4();
        let mut page = page(&database, user).await;
        page.gather_unlinked(run, now()).await.unwrap();
        let keys = [key("1@example.org", "")];
        let found = page.match_unlinked(run, &keys, &[]).await.unwrap();
        let found: Vec<_> =
            found.into_iter().map(|(_, contact)| (contact.id, contact.resource_name)).collect();
        let expected = [(id, Some("people/c1".to_owned()))];
        assert_eq!(found, if by_hand { &[][..] } else { &expected[..] });
        assert!(page.match_unlinked(run, &keys, &[id]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_run_that_another_task_has_ended_archives_no_contact() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    insert(&database, user, &people(1..=3)).await;
    let run = Uuid::new_v4();
    database.of::<Contacts>().begin_run(run, user, now()).await.unwrap();
    database.of::<Contacts>().end_run(run).await.unwrap();
    let mut page = page(&database, user).await;
    assert!(!page.mark_seen(run, &["people/c1"]).await.unwrap());
    assert_eq!(page.archive_unseen(run, now()).await.unwrap(), None);
    page.commit().await.unwrap();
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts WHERE archived").await, 0);
}

#[tokio::test]
async fn a_new_run_clears_away_what_was_given_up() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    for days in [3, 1, 0] {
        database
            .of::<Contacts>()
            .begin_run(Uuid::new_v4(), user, now() - TimeDelta::days(days))
            .await
            .unwrap();
    }
    assert_eq!(database.value::<i64>("SELECT count(*) FROM jobs.contacts_sync_runs").await, 2);
}

#[tokio::test]
async fn the_sync_state_says_where_the_sync_continues() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    assert_eq!(database.of::<Contacts>().sync_state(user).await.unwrap().sync_token, None);
    insert(&database, user, &people(1..=3)).await;
    let mut first = page(&database, user).await;
    first.store_sync_state(SyncType::Full, Some("token"), true, now()).await.unwrap();
    first.commit().await.unwrap();
    let state = database.of::<Contacts>().sync_state(user).await.unwrap();
    assert_eq!((state.sync_token.as_deref(), state.linked), (Some("token"), 3));

    database.of::<Contacts>().sync_failed(user, "google answers 500").await.unwrap();
    assert_eq!(database.of::<Contacts>().sync_state(user).await.unwrap(), state, "a failure forgets nothing");
    assert_eq!(
        database.value::<String>("SELECT last_sync_status FROM google_contacts_sync_state").await,
        "failed"
    );
    let mut second = page(&database, user).await;
    second.store_sync_state(SyncType::Incremental, Some("next"), false, now()).await.unwrap();
    second.commit().await.unwrap();
    let row = "SELECT sync_token, total_contacts_synced, last_full_sync_at IS NOT NULL, last_incremental_sync_at IS NOT NULL,
                      last_sync_status, last_sync_error FROM google_contacts_sync_state";
    let expected = ("next".to_owned(), 3, true, true, "success".to_owned(), None);
    assert_eq!(database.rows::<(String, i32, bool, bool, String, Option<String>)>(row).await, [expected]);
}

#[tokio::test]
async fn two_pages_of_one_user_wait_for_each_other() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let mut first = page(&database, user).await;
    let second = {
        let db = database.db.clone();
        tokio::spawn(async move {
            let mut page = Contacts::from(db.clone()).page(user).await.unwrap();
            page.linked(&["people/c1"]).await.unwrap().len()
        })
    };
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let waits = || async {
        assert!(!second.is_finished());
        database.value::<i64>(waiting).await > 0
    };
    within(Duration::from_secs(20), "the second page waits", waits).await;
    first.insert(&[person(1)], now()).await.unwrap();
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
    let names: Vec<&str> = known.iter().chain(&new).map(|person| person.resource_name.as_str()).collect();
    let keys: Vec<_> = known
        .iter()
        .chain(&new)
        .map(|person| MatchKeys { email: person.email.as_deref(), phone: None })
        .collect();
    let mut page = page(database, user).await;
    page.gather_unlinked(run, now()).await.unwrap();
    page.mark_seen(run, &names).await.unwrap();
    assert!(page.linked(&names).await.unwrap().is_empty());
    let matched = page.match_unlinked(run, &keys, &[]).await.unwrap();
    assert_eq!(matched.len(), known.len());
    let updates: Vec<_> = matched
        .into_iter()
        .map(|(index, contact)| ContactUpdate {
            id: contact.id,
            notes_before: None,
            fields: known[index].clone(),
        })
        .collect();
    page.update(&updates, now()).await.unwrap();
    let inserted = page.insert(&new, now()).await.unwrap();
    let joined: Vec<_> =
        inserted.into_iter().map(|(_, contact_id)| Membership { contact_id, group: "g".into() }).collect();
    page.change_memberships(&joined, &[]).await.unwrap();
    page.commit().await.unwrap();
    let contacts = format!(
        "SELECT count(*) FROM contacts WHERE user_id = '{user}' AND google_resource_name IS NOT NULL"
    );
    assert_eq!(database.value::<i64>(&contacts).await, i64::from(2 * size));
}
