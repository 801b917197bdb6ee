//! `contacts` and `contact_google_memberships`: one page of an address book, one transaction of set-based statements.
//!
//! A first sync fills the table faster than the server's statistics follow, and a plan that looks through all of a user's
//! contacts for each page would make it quadratic. `LATERAL (… OFFSET 0)` and keys alone leave no choice but one lookup
//! into an index per person.
//!
//! Whom a sync archives, it marks by one moment in `archived_at` and `last_synced_at`; a user who archives a contact by hand
//! has a moment of their own. So a person who returns takes up a contact that a sync archived, and what the user
//! archived stays archived.

use std::collections::HashMap;

use shared::db::{Error, Transaction};
use uuid::Uuid;

/// The columns of a contact that Google's people are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns say it")]
pub struct StoredContact {
    /// The row.
    pub id: Uuid,
    /// The person that it is linked to.
    pub resource_name: Option<String>,
    /// The person's version that it shows.
    pub etag: Option<String>,
    pub name: String,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub linked_in: Option<String>,
    pub location: Option<String>,
    pub custom_notes: Option<String>,
    /// It came from Google, rather than from the user.
    pub from_google: bool,
    /// A sync archived it, since its person was gone.
    pub archived_by_sync: bool,
    /// The user archived it.
    pub archived_by_user: bool,
    /// Resource names of its Google groups.
    pub groups: Vec<String>,
}

/// One page of an address book on its way into the database. Nothing counts before [`ContactsPage::commit`].
#[derive(Debug)]
pub struct ContactsPage {
    pub(super) tx: Transaction,
    pub(super) user_id: Uuid,
}

/// A query of the contacts `c` in `from`.
macro_rules! stored_contacts {
    (from: $from:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            StoredContact,
            r#"
            SELECT c.id, c.google_resource_name AS resource_name, c.google_etag AS etag, c.name, c.phone, c.email,
                   c.linked_in, c.location, c.custom_notes, COALESCE(c.source = 'google', false) AS "from_google!",
                   (c.archived AND c.archived_at = c.last_synced_at) IS TRUE AS "archived_by_sync!",
                   (c.archived AND (c.archived_at = c.last_synced_at) IS NOT TRUE) IS TRUE AS "archived_by_user!",
                   ARRAY(
                       SELECT m.google_group_resource_name FROM contact_google_memberships m WHERE m.contact_id = c.id
                   ) AS "groups!: Vec<String>"
            FROM "#
            + $from,
            $($argument),+
        )
    };
}

mod archive;
mod duplicates;
mod matching;
mod memberships;
mod sync_runs;
mod sync_state;
mod writing;

pub use archive::MissedContacts;
pub use duplicates::{Duplicates, OwnData};
pub use matching::MatchKeys;
pub use memberships::Membership;
pub use sync_runs::{BegunWith, ListedPage, Place};
pub use sync_state::{ContactsSyncState, GivenToken};
pub use writing::{ContactUpdate, NewContact, PersonFields};

handle! {
    /// `contacts` and `contact_google_memberships`: one page of an address book, one transaction of set-based statements.
    Contacts
}

impl Contacts {
    /// Begins a page.
    pub async fn page(&self, user_id: Uuid) -> Result<ContactsPage, Error> {
        Ok(ContactsPage { tx: self.0.begin().await?, user_id })
    }
}

impl ContactsPage {
    /// The contacts that are linked to these people, each of whom is named once.
    pub async fn linked(&mut self, resource_names: &[&str]) -> Result<Vec<StoredContact>, Error> {
        if resource_names.is_empty() {
            return Ok(Vec::new());
        }
        let contacts = stored_contacts!(
            from: "unnest($2::text[]) AS listed(resource_name)
                   CROSS JOIN LATERAL (
                       SELECT * FROM contacts WHERE user_id = $1 AND google_resource_name = listed.resource_name OFFSET 0
                   ) c",
            self.user_id,
            resource_names as _,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(contacts)
    }

    /// These contacts, by their ids.
    async fn by_id(&mut self, ids: &[Uuid]) -> Result<HashMap<Uuid, StoredContact>, Error> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let contacts = stored_contacts!(
            from: "unnest($1::uuid[]) AS wanted(id)
                   CROSS JOIN LATERAL (SELECT * FROM contacts WHERE id = wanted.id OFFSET 0) c",
            ids,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(contacts.into_iter().map(|contact| (contact.id, contact)).collect())
    }

    /// Makes all of it count.
    pub async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await
    }
}
