//! People over the wire: pages, sync tokens that expire, deletions, groups.

use catchup::google::{Error, Next};
use catchup::payload::Integration::GoogleContacts;
use google_stand_in::Call;

use crate::google::stack::{Stack, USUAL};

#[tokio::test]
async fn people_come_in_pages_and_changes_by_sync_token() {
    const PEOPLE: usize = 1500;
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    stack.world.add_address_book(user_id, PEOPLE as u64).unwrap();
    let mut session = stack.session(GoogleContacts).await;
    let first = stack.people.connections(&mut session, None, None).await.unwrap();
    let Next::Page(page_token) = first.next else { panic!("there is more") };
    let second = stack.people.connections(&mut session, None, Some(&page_token)).await.unwrap();
    let Next::Sync(sync_token) = second.next else { panic!("this is all") };
    assert_eq!((first.items.len(), second.items.len()), (1000, 500));

    let gone = stack.world.people(user_id).unwrap().remove(0).resource_name;
    stack.world.delete_person(user_id, &gone).unwrap();
    let changed = stack.people.connections(&mut session, Some(&sync_token), None).await.unwrap();
    assert_eq!(changed.items.len(), 1);
    assert_eq!(changed.items[0].resource_name.as_deref(), Some(gone.as_str()));
    assert_eq!(changed.items[0].metadata.as_ref().and_then(|metadata| metadata.deleted), Some(true));
    assert_eq!(stack.calls(Call::PeopleConnectionsList), 3);
}

#[tokio::test]
async fn an_expired_sync_token_says_so() {
    let stack = Stack::start().await;
    let mut session = stack.session(GoogleContacts).await;
    let page = stack.people.connections(&mut session, None, None).await.unwrap();
    let Next::Sync(sync_token) = page.next else { panic!("this is all") };
    stack.world.expire_sync_tokens(stack.user(USUAL)).unwrap();
    let page = stack.people.connections(&mut session, Some(&sync_token), None).await;
    assert!(matches!(page, Err(Error::SyncTokenExpired)), "{page:?}");
}

#[tokio::test]
async fn all_groups_are_listed() {
    let stack = Stack::start().await;
    let user_id = stack.user(USUAL);
    let added = stack.world.add_group(user_id, "Choir").unwrap();
    let page = stack.people.contact_groups(&mut stack.session(GoogleContacts).await, None).await.unwrap();
    assert_eq!(page.items.len(), stack.world.groups(user_id).unwrap().len());
    let listed = page.items.iter().find(|group| group.resource_name.as_deref() == Some(&added.resource_name));
    assert_eq!(listed.and_then(|group| group.name.as_deref()), Some("Choir"));
}
