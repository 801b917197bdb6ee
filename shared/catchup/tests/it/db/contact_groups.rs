//! Google's groups, the user's own, and the members of approved mappings.

use catchup::db::contact_groups::{ContactGroups, GoogleGroup, MappingSuggestion};
use catchup::db::contacts::{Contacts, Membership, NewContact, PersonFields};
use catchup::payload::Integration::GoogleContacts;
use tests::database::{Database, now};
use uuid::Uuid;

fn group(name: &str) -> GoogleGroup {
    GoogleGroup {
        resource_name: format!("contactGroups/{name}"),
        name: name.into(),
        etag: Some("1".into()),
        member_count: 2,
    }
}

fn suggestion(name: &str, group_id: Option<Uuid>) -> MappingSuggestion {
    MappingSuggestion {
        resource_name: format!("contactGroups/{name}"),
        group_id,
        group_name: name.into(),
        confidence: 2.0 / 3.0,
        reason: "a reason".into(),
    }
}

/// A user with Google groups `a` and `b`, and with so many contacts, all of them in `a`.
async fn world(database: &Database, contacts: u32) -> (Uuid, Vec<Uuid>) {
    let user = database.user(&[GoogleContacts]).await;
    database.of::<ContactGroups>().upsert_google(user, &[group("a"), group("b")], now()).await.unwrap();
    let people: Vec<_> = (0..contacts)
        .map(|number| PersonFields {
            resource_name: format!("people/c{number}"),
            etag: None,
            name: "Ada".into(),
            phone: None,
            email: None,
            linked_in: None,
            location: None,
            custom_notes: None,
        })
        .map(|fields| NewContact { fields, groups: Vec::new() })
        .collect();
    let mut page = database.of::<Contacts>().page(user).await.unwrap();
    let ids: Vec<Uuid> = page.insert(&people, now()).await.unwrap();
    page.change_memberships(&memberships(&ids, "a"), &[]).await.unwrap();
    page.commit().await.unwrap();
    (user, ids)
}

fn memberships(contacts: &[Uuid], group: &str) -> Vec<Membership> {
    let group = format!("contactGroups/{group}");
    contacts.iter().map(|contact_id| Membership { contact_id: *contact_id, group: group.clone() }).collect()
}

async fn own_group(database: &Database, user: Uuid, name: &str, members: &[Uuid]) -> Uuid {
    let id = Uuid::new_v4();
    database.run(format!("INSERT INTO groups (id, user_id, name) VALUES ('{id}', '{user}', '{name}')")).await;
    for member in members {
        database
            .run(format!("INSERT INTO contact_groups (contact_id, group_id) VALUES ('{member}', '{id}')"))
            .await;
    }
    id
}

async fn approve(database: &Database, google: &str, group: Uuid) {
    database
        .run(format!(
            "UPDATE google_contact_groups SET catchup_group_id = '{group}', mapping_status = 'approved'
             WHERE google_name = '{google}'"
        ))
        .await;
}

async fn members(database: &Database, group: Uuid) -> Vec<Uuid> {
    let sql = format!("SELECT contact_id FROM contact_groups WHERE group_id = '{group}' ORDER BY 1");
    database.rows::<(Uuid,)>(&sql).await.into_iter().map(|(id,)| id).collect()
}

fn sorted(mut ids: Vec<Uuid>) -> Vec<Uuid> {
    ids.sort();
    ids
}

#[tokio::test]
async fn groups_become_googles_and_decisions_stay() {
    let database = Database::new().await;
    let (user, _) = world(&database, 0).await;
    let places = database.places("google_contact_groups").await;
    assert_eq!(
        database
            .of::<ContactGroups>()
            .upsert_google(user, &[group("a"), group("b"), group("a")], now())
            .await
            .unwrap(),
        0
    );
    assert_eq!(database.places("google_contact_groups").await, places);

    database
        .run("UPDATE google_contact_groups SET mapping_status = 'rejected' WHERE google_name = 'a'")
        .await;
    let renamed = GoogleGroup { name: "A".into(), ..group("a") };
    assert_eq!(database.of::<ContactGroups>().upsert_google(user, &[renamed], now()).await.unwrap(), 1);
    assert_eq!(
        database.of::<ContactGroups>().remove_unseen_google(user, &["contactGroups/a".into()]).await.unwrap(),
        1
    );
    for seen in [&["contactGroups/c".into()][..], &[]] {
        assert_eq!(database.of::<ContactGroups>().remove_unseen_google(user, seen).await.unwrap(), 0);
    }
    let rows = "SELECT google_name, mapping_status FROM google_contact_groups";
    let kept = [("A".to_owned(), "rejected".to_owned())];
    assert_eq!(database.rows::<(String, String)>(rows).await, kept, "the user has decided about it");
}

#[tokio::test]
async fn a_suggestion_is_made_once_and_from_what_is_in_common() {
    let database = Database::new().await;
    let (user, contacts) = world(&database, 3).await;
    let own = own_group(&database, user, "mine", &contacts[..2]).await;
    let unmapped = database.of::<ContactGroups>().unmapped_google(user).await.unwrap();
    let counts: Vec<_> = unmapped.iter().map(|group| (group.name.as_str(), group.members)).collect();
    assert_eq!(counts, [("a", 3), ("b", 0)]);
    let groups = database.of::<ContactGroups>().own(user).await.unwrap();
    assert_eq!((groups.len(), groups[0].id, groups[0].members), (1, own, 2));
    let overlaps =
        database.of::<ContactGroups>().overlaps(user, &["contactGroups/a", "contactGroups/b"]).await.unwrap();
    assert_eq!((overlaps.len(), overlaps[0].group_id, overlaps[0].common), (1, own, 2));

    database
        .of::<ContactGroups>()
        .suggest_mappings(user, &[suggestion("a", Some(own)), suggestion("b", None)])
        .await
        .unwrap();
    database.of::<ContactGroups>().suggest_mappings(user, &[suggestion("a", None)]).await.unwrap();
    assert!(database.of::<ContactGroups>().unmapped_google(user).await.unwrap().is_empty());
    let rows = "SELECT suggested_action, suggested_group_id, confidence_score::text FROM google_contact_groups ORDER BY google_name";
    let expected = [
        ("map_to_existing".to_owned(), Some(own), "0.6667".to_owned()),
        ("create_new".to_owned(), None, "0.6667".to_owned()),
    ];
    assert_eq!(database.rows::<(String, Option<Uuid>, String)>(rows).await, expected);
}

#[tokio::test]
async fn an_approved_mapping_gets_its_members_but_for_the_excluded() {
    let database = Database::new().await;
    let (user, contacts) = world(&database, 5).await;
    let group = own_group(&database, user, "mine", &[]).await;
    assert_eq!(database.of::<ContactGroups>().fill_mapped(user).await.unwrap(), 0);
    approve(&database, "a", group).await;
    database
        .run(format!(
            "UPDATE google_contact_groups SET excluded_members = '{{{},people/c1}}' WHERE google_name = 'a';
             UPDATE contacts SET archived = true WHERE google_resource_name = 'people/c2'",
            contacts[0]
        ))
        .await;
    assert_eq!(database.of::<ContactGroups>().fill_mapped(user).await.unwrap(), 2);
    assert_eq!(members(&database, group).await, sorted(contacts[3..].to_vec()));
    assert_eq!(database.of::<ContactGroups>().fill_mapped(user).await.unwrap(), 0);
    // Excluded later.
    database
        .run("UPDATE google_contact_groups SET excluded_members = '{people/c3}' WHERE google_name = 'a'")
        .await;
    assert_eq!(database.of::<ContactGroups>().fill_mapped(user).await.unwrap(), 3, "two join, one leaves");
    let kept = [0, 1, 4].map(|index| contacts[index]);
    assert_eq!(members(&database, group).await, sorted(kept.to_vec()));
    assert_eq!(database.of::<ContactGroups>().fill_mapped(user).await.unwrap(), 0);
}

#[tokio::test]
async fn who_leaves_a_google_group_leaves_the_mapped_one_and_who_was_added_by_hand_stays() {
    let database = Database::new().await;
    let (user, contacts) = world(&database, 3).await;
    let by_hand = contacts[2];
    let group = own_group(&database, user, "mine", &contacts).await;
    approve(&database, "a", group).await;
    approve(&database, "b", group).await;
    let mut page = database.of::<Contacts>().page(user).await.unwrap();
    page.change_memberships(&memberships(&contacts[1..2], "b"), &memberships(&[by_hand], "a")).await.unwrap();
    page.commit().await.unwrap();
    database
        .run(format!("INSERT INTO contact_groups (contact_id, group_id) VALUES ('{by_hand}', '{group}')"))
        .await;

    let mut page = database.of::<Contacts>().page(user).await.unwrap();
    page.change_memberships(&[], &memberships(&contacts[..2], "a")).await.unwrap();
    page.commit().await.unwrap();
    // The second one is still in `b`, which leads to the same group.
    assert_eq!(members(&database, group).await, sorted(contacts[1..].to_vec()));
}
