//! Which contacts are the people that Google lists.

use catchup::db::contacts::{BegunWith, ContactUpdate, Contacts, MatchKeys, MissedContacts};
use catchup::payload::Integration::GoogleContacts;
use catchup::payload::SyncType;
use tests::database::{Database, now};
use uuid::Uuid;

use super::{AS_IT_IS, archived, begin, end, insert, listed, more, own, page, people, person, take};

fn key<'a>(email: &'a str, phone: &'a str) -> MatchKeys<'a> {
    let some = |text: &'a str| (!text.is_empty()).then_some(text);
    MatchKeys { email: some(email), phone: some(phone) }
}

async fn matches(database: &Database, user: Uuid, keys: &[MatchKeys<'_>]) -> Vec<(usize, Uuid)> {
    let mut page = page(database, user).await;
    page.gather_candidates(SyncType::Incremental).await.unwrap();
    let found = page.match_candidates(keys, &[]).await.unwrap();
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
async fn a_contact_in_use_is_matched_before_one_that_is_archived_and_the_users_word_comes_last() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let archived = |by: &str, created: &str| {
        format!(
            "archived = true, archived_at = {by}, last_synced_at = '2020-01-01', created_at = '{created}'"
        )
    };
    let own = async |more: &str| own(&database, user, "a@b.c", "", more).await;
    let by_user = own(&archived("'2020-01-02'", "2000-01-01")).await;
    let without_time = own(&archived("NULL", "2000-01-02")).await;
    let by_sync = own(&archived("'2020-01-01'", "2000-01-03")).await;
    let by_sync_later =
        own("archived = true, archived_at = '2021-01-01', last_synced_at = '2021-01-01'").await;
    let in_use = own(AS_IT_IS).await;
    let expected: Vec<_> =
        [in_use, by_sync_later, by_sync, by_user, without_time].into_iter().enumerate().collect();
    assert_eq!(matches(&database, user, &[key("a@b.c", ""); 6]).await, expected);
}

#[tokio::test]
async fn a_full_sync_matches_archived_contacts_at_its_end_if_it_inserted_any() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let archived = "archived = true, archived_at = '2020-01-01', last_synced_at = ";
    let name = "google_resource_name = 'people/gone'";
    let by_user = own(&database, user, "u@b.c", "", &format!("{archived} NULL, {name}")).await;
    let by_sync = own(&database, user, "s@b.c", "", &format!("{archived} '2020-01-01'")).await;
    for inserted in [false, true] {
        let (run, last) = (Uuid::new_v4(), end());
        let ids = if inserted { insert(&database, user, &people([1])).await } else { Vec::new() };
        let begun_with = begin(&database, user).await;
        assert!(take(&database, user, listed(run, 0, &begun_with, &last), &["people/c1"], &ids).await);
        let mut page = page(&database, user).await;
        assert_eq!(page.gather_candidates(SyncType::Full).await.unwrap(), 0);
        assert_eq!(page.gather_unseen(run).await.unwrap(), if inserted { 2 } else { 0 });
        let found = page.match_candidates(&[key("u@b.c", ""), key("s@b.c", "")], &[]).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(_, contact)| contact.id).collect();
        assert_eq!(found, if inserted { vec![by_user, by_sync] } else { vec![] });
        assert_eq!(page.missed(run).await.unwrap(), MissedContacts { unseen: 0, before: 0 });
        assert!(page.archive_unseen(now()).await.unwrap().unwrap_or_default().is_empty());
    }
}

#[tokio::test]
async fn a_contact_that_was_linked_by_an_earlier_page_is_not_matched_again() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    let id = own(&database, user, "a@b.c", "", AS_IT_IS).await;
    let mut page = page(&database, user).await;
    assert_eq!(page.gather_candidates(SyncType::Incremental).await.unwrap(), 1);
    let update = ContactUpdate { id, notes_before: None, fields: person(1) };
    page.update(&[update], now()).await.unwrap();
    assert!(page.match_candidates(&[key("a@b.c", "")], &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn match_candidates_stay_when_another_run_has_begun() {
    let database = Database::new().await;
    let user = database.user(&[GoogleContacts]).await;
    own(&database, user, "a@b.c", "", AS_IT_IS).await;
    let (contacts, run, next) = (database.of::<Contacts>(), Uuid::new_v4(), more());
    let mut page = page(&database, user).await;
    assert!(page.take_place(listed(run, 0, &BegunWith::default(), &next), now()).await.unwrap());
    assert_eq!(page.gather_candidates(SyncType::Full).await.unwrap(), 1);
    page.commit().await.unwrap();
    let candidates = "SELECT count(*) FROM jobs.contacts_sync_candidates";
    contacts.forget_candidates(user, Uuid::new_v4()).await.unwrap();
    assert_eq!(database.value::<i64>(candidates).await, 1);
    contacts.forget_candidates(user, run).await.unwrap();
    assert_eq!(database.value::<i64>(candidates).await, 0);
}

#[tokio::test]
async fn a_person_who_returns_under_another_name_is_matched_unless_the_contact_is_taken() {
    for by_hand in [false, true] {
        let database = Database::new().await;
        let (user, id) = archived(&database, by_hand).await;
        let mut page = page(&database, user).await;
        page.gather_candidates(SyncType::Incremental).await.unwrap();
        let keys = [key("1@example.org", "")];
        let found = page.match_candidates(&keys, &[]).await.unwrap();
        let found: Vec<_> =
            found.into_iter().map(|(_, contact)| (contact.id, contact.resource_name)).collect();
        let expected = [(id, Some("people/c1".to_owned()))];
        assert_eq!(found, if by_hand { &[][..] } else { &expected[..] });
        assert!(page.match_candidates(&keys, &[id]).await.unwrap().is_empty());
    }
}
