//! An address book of any size syncs with flat memory and a number of statements proportional to its pages.

use catchup::queues;
use google_stand_in::{Call, Integration, SeedOptions};
use local_cloud::LocalCloud;
use serde_json::json;
use shared::queue::Queue;
use uuid::Uuid;

use super::{calls, database, healthy, start};

const QUEUE: Queue = queues::GOOGLE_CONTACTS_SYNC;
const PAGE: u64 = 1_000;
const MAX_RSS_BYTES: u64 = 64_000_000;

struct Cost {
    pages: u64,
    statements: u64,
}

/// Syncs an address book of `people`, all parts together.
async fn sync(cloud: &mut LocalCloud, user: Uuid, people: u64) -> Cost {
    cloud.world().add_address_book(user, people).unwrap();
    cloud.world().reset_calls();
    let lines = super::run(cloud, QUEUE, &json!({ "userId": user, "syncType": "full" })).await;
    assert!(lines.iter().all(|line| line.outcome == "done"), "{lines:?}");
    Cost {
        pages: calls(cloud.world(), user, Call::PeopleConnectionsList),
        statements: lines.iter().map(|line| line.sql_statements).sum(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_hundred_thousand_people_sync_with_flat_memory_and_statements_by_the_page() {
    let mut small = start(SeedOptions { users: 4, max_contacts: 10, ..SeedOptions::default() }).await;
    let user = healthy(small.world(), Integration::GoogleContacts, |_, _| true);
    let ten = sync(&mut small, user, 10 * PAGE).await;
    drop(small);

    let mut cloud = start(SeedOptions { users: 4, max_contacts: 10, ..SeedOptions::default() }).await;
    let hundred = sync(&mut cloud, user, 100 * PAGE).await;
    let peak = cloud.consumption()[QUEUE.name()].peak_bytes;
    assert!(peak < MAX_RSS_BYTES, "{peak} bytes at the peak");

    assert_eq!((ten.pages, hundred.pages), (10, 100));
    assert!(
        hundred.statements <= 10 * ten.statements + 50,
        "{} statements for 10 pages, {} for 100",
        ten.statements,
        hundred.statements
    );
    let stored: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM contacts WHERE user_id = $1 AND google_resource_name IS NOT NULL AND NOT archived",
    )
    .bind(user)
    .fetch_one(&mut database(&cloud).await)
    .await
    .unwrap();
    let named = cloud.world().people(user).unwrap().iter().filter(|person| person.name.is_some()).count();
    assert_eq!(usize::try_from(stored).unwrap(), named, "everybody with a name is there");
}
