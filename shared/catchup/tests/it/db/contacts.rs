//! Pages of an address book, and what a run remembers between them.

use std::fmt::Write as _;
use std::sync::Arc;

use catchup::db::contacts::{
    BegunWith, ContactUpdate, Contacts, ContactsPage, GivenToken, ListedPage, MatchKeys, Membership,
    NewContact, PersonFields, Place,
};
use catchup::payload::Integration::GoogleContacts;
use catchup::payload::SyncType;
use chrono::TimeDelta;
use shared::telemetry::{Counter, Scope};
use tests::database::{Database, now};
use uuid::Uuid;

mod matching;
mod runs;

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
    inserted
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

async fn page(database: &Database, user: Uuid) -> ContactsPage {
    database.of::<Contacts>().page(user).await.unwrap()
}

#[tokio::test]
async fn a_contact_that_is_archived_without_a_time_was_archived_by_the_user() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    own(&database, user, "", "", "archived = true, google_resource_name = 'people/c1'").await;
    let contact = page(&database, user).await.linked(&["people/c1"]).await.unwrap().remove(0);
    assert_eq!((contact.archived_by_sync, contact.archived_by_user), (false, true));
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

/// A page of a listing that began when no other one was under way.
fn listed<'a>(run: Uuid, number: i32, begun_with: &'a BegunWith, next: &'a Place) -> ListedPage<'a> {
    ListedPage { run, number, begun_with, next }
}

/// What a listing begins with that begins now.
async fn begin(database: &Database, user: Uuid) -> BegunWith {
    database.of::<Contacts>().sync_state(user, false).await.unwrap().begun_with
}

fn more() -> Place {
    Place::Page("more".into())
}

fn end() -> Place {
    Place::End("sync".into())
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
    assert_eq!(database.value::<i64>(left).await, 4, "only the one that was never touched is deleted");
    assert_eq!(database.value::<i64>("SELECT count(*) FROM contacts").await, 4);
}

#[tokio::test]
async fn the_duplicate_of_a_contact_whose_person_is_gone_has_its_address_or_else_its_number() {
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
    let mut pairs: Vec<_> =
        page.duplicates_of(&gone).await.unwrap().iter().map(|pair| (pair.old.id, pair.new.id)).collect();
    pairs.sort_unstable();
    let mut expected = [(ids[0], ids[1]), (ids[2], ids[3])];
    expected.sort_unstable();
    assert_eq!(pairs, expected);
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
    assert!(page.take_place(listed(run, 0, &BegunWith::default(), &next), now()).await.unwrap());
    page.gather_candidates(SyncType::Incremental).await.unwrap();
    assert!(page.linked(&names).await.unwrap().is_empty());
    let matched = page.match_candidates(&keys, &[]).await.unwrap();
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
        inserted.into_iter().map(|contact_id| Membership { contact_id, group: "g".into() }).collect();
    page.change_memberships(&joined, &[]).await.unwrap();
    page.mark_seen(run, 0, &names, &[]).await.unwrap();
    page.commit().await.unwrap();
    let contacts = format!(
        "SELECT count(*) FROM contacts WHERE user_id = '{user}' AND google_resource_name IS NOT NULL"
    );
    assert_eq!(database.value::<i64>(&contacts).await, i64::from(2 * size));
}
