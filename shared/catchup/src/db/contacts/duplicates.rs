//! Several contacts of one person: which of them keeps what the user wrote.
//!
//! Google gives a person another resource name when people are merged, restored or linked to a profile, and does not
//! always say so. The contact under the old name is then gone or not listed, and another one with the same e-mail address
//! or number is new.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::{ContactsPage, StoredContact};

/// What of a contact is the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnData {
    /// The contact.
    pub id: Uuid,
    /// It has a value in a column that is never Google's, a group that no Google group leads to, or a logged meeting.
    pub has_own: bool,
    /// It was changed after it was inserted.
    pub was_changed: bool,
    /// The note.
    pub custom_notes: Option<String>,
}

/// Two contacts of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates {
    /// The one whose person is gone.
    pub old: StoredContact,
    /// The one that is linked to the person.
    pub new: StoredContact,
}

impl ContactsPage {
    /// What of these contacts is the user's own.
    pub async fn own_data(&mut self, contacts: &[Uuid]) -> Result<Vec<OwnData>, Error> {
        if contacts.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as!(
            OwnData,
            r#"
            SELECT c.id, c.custom_notes, c.updated_at IS DISTINCT FROM c.created_at AS "was_changed!", (
                       num_nonnulls(c.instagram, c.x_handle, c.timezone, c.frequency_preference, c.last_contact_date,
                                    c.dunbar_circle, c.circle_assigned_at) > 0
                       OR COALESCE(c.other_social_media, 'null') NOT IN ('null', '{}', '[]')
                       OR EXISTS (SELECT FROM interaction_logs l WHERE l.contact_id = c.id)
                       OR EXISTS (
                           SELECT FROM contact_groups x
                           WHERE x.contact_id = c.id AND NOT EXISTS (
                               SELECT FROM google_contact_groups g
                               WHERE g.user_id = $1 AND g.catchup_group_id = x.group_id
                           )
                       )
                   ) AS "has_own!"
            FROM unnest($2::uuid[]) AS wanted(id)
            CROSS JOIN LATERAL (SELECT * FROM contacts WHERE id = wanted.id OFFSET 0) c
            "#,
            self.user_id,
            contacts,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(rows)
    }

    /// The pages on which a full sync inserted a contact with the e-mail address or number of a match candidate.
    pub async fn pages_with_matches(&mut self, run: Uuid) -> Result<Vec<i32>, Error> {
        // Subqueries within an expression are looked up by hash, whatever the statistics say of a new table.
        let pages = sqlx::query_scalar!(
            "
            SELECT p.page FROM jobs.contacts_sync_pages p
            WHERE p.user_id = $1 AND p.run = $2 AND EXISTS (
                SELECT FROM unnest(p.inserted) AS i(id)
                CROSS JOIN LATERAL (SELECT * FROM contacts WHERE id = i.id OFFSET 0) c
                WHERE (lower(btrim(c.email)) IN (
                          SELECT k.email FROM jobs.contacts_sync_candidates k WHERE k.user_id = $1 AND k.email IS NOT NULL
                      )) IS TRUE
                   OR (regexp_replace(c.phone, '[^0-9]', '', 'g') IN (
                          SELECT k.phone FROM jobs.contacts_sync_candidates k WHERE k.user_id = $1 AND k.phone IS NOT NULL
                      )) IS TRUE
            )
            ORDER BY p.page
            ",
            self.user_id,
            run,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(pages)
    }

    /// The contacts that a page of a full sync inserted, as far as they are as they were.
    pub async fn inserted(&mut self, run: Uuid, page: i32) -> Result<Vec<StoredContact>, Error> {
        let contacts = stored_contacts!(
            from: "jobs.contacts_sync_pages p
                   CROSS JOIN LATERAL unnest(p.inserted) AS i(id)
                   CROSS JOIN LATERAL (
                       SELECT * FROM contacts
                       WHERE id = i.id AND archived IS NOT TRUE AND google_resource_name IS NOT NULL
                         AND updated_at = created_at
                       OFFSET 0
                   ) c
                   WHERE p.user_id = $1 AND p.run = $2 AND p.page = $3
                     AND NOT EXISTS (SELECT FROM interaction_logs l WHERE l.contact_id = c.id)
                     AND NOT EXISTS (SELECT FROM contact_groups x WHERE x.contact_id = c.id)",
            self.user_id,
            run,
            page,
        )
        .fetch_all(self.tx.statement())
        .await?;
        Ok(contacts)
    }

    /// Pairs of one of the contacts `gone`, whose people were deleted, and one that came from Google and has a person, with
    /// the same e-mail address, else the same number; each contact once.
    pub async fn duplicates_of(&mut self, gone: &[Uuid]) -> Result<Vec<Duplicates>, Error> {
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        // Subqueries within an expression are looked up by hash, whatever the statistics say of a new table.
        let rows = sqlx::query!(
            r#"
            WITH old AS MATERIALIZED (
                SELECT c.id, NULLIF(lower(btrim(c.email)), '') AS email,
                       NULLIF(regexp_replace(c.phone, '[^0-9]', '', 'g'), '') AS phone
                FROM unnest($2::uuid[]) AS gone(id)
                CROSS JOIN LATERAL (SELECT * FROM contacts WHERE id = gone.id OFFSET 0) c
            )
            SELECT id AS "id!", email, phone, true AS "is_old!" FROM old
            UNION ALL
            SELECT id, email, phone, false
            FROM (
                SELECT id, lower(btrim(email)) AS email, regexp_replace(phone, '[^0-9]', '', 'g') AS phone
                FROM contacts
                WHERE user_id = $1 AND google_resource_name IS NOT NULL AND archived IS NOT TRUE AND source = 'google'
            ) new
            WHERE (email IN (SELECT email FROM old WHERE email IS NOT NULL)) IS TRUE
               OR (phone IN (SELECT phone FROM old WHERE phone IS NOT NULL)) IS TRUE
            "#,
            self.user_id,
            gone,
        )
        .fetch_all(self.tx.statement())
        .await?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for row in rows {
            let keys = Keys { id: row.id, by: [row.email, row.phone] };
            if row.is_old { old.push(keys) } else { new.push(keys) }
        }
        let pairs = pair(&old, &new);
        let ids: Vec<Uuid> = pairs.iter().flat_map(|(old, new)| [*old, *new]).collect();
        let mut contacts = self.by_id(&ids).await?;
        let duplicates = pairs.iter().filter_map(|(old, new)| {
            Some(Duplicates { old: contacts.remove(old)?, new: contacts.remove(new)? })
        });
        Ok(duplicates.collect())
    }

    /// Takes contacts of a person whose other contact stays out of the way, their link included: with `delete`, those that
    /// are as they were inserted and that nothing refers to are deleted; the others are archived, with all that is in
    /// them, and may be matched with another person. What the user archived stays as it is.
    pub async fn retire(&mut self, contacts: &[Uuid], delete: bool, now: DateTime<Utc>) -> Result<(), Error> {
        if contacts.is_empty() {
            return Ok(());
        }
        if delete {
            sqlx::query!(
                "
                DELETE FROM contacts c
                USING unnest($1::uuid[]) AS retired(id)
                WHERE c.id = retired.id AND c.updated_at = c.created_at
                  AND NOT EXISTS (SELECT FROM interaction_logs l WHERE l.contact_id = c.id)
                  AND NOT EXISTS (SELECT FROM contact_groups x WHERE x.contact_id = c.id)
                  AND NOT EXISTS (SELECT FROM suggestions s WHERE s.contact_id = c.id)
                  AND NOT EXISTS (SELECT FROM suggestion_contacts s WHERE s.contact_id = c.id)
                ",
                contacts,
            )
            .execute(self.tx.statement())
            .await?;
        }
        sqlx::query!(
            "
            WITH retired AS (
                UPDATE contacts c
                SET google_resource_name = NULL, archived = true,
                    archived_at = CASE WHEN c.archived IS TRUE THEN c.archived_at ELSE $2 END,
                    last_synced_at = CASE WHEN c.archived IS TRUE THEN c.last_synced_at ELSE $2 END
                FROM unnest($1::uuid[]) AS r(id)
                WHERE c.id = r.id
                RETURNING c.id
            )
            DELETE FROM contact_google_memberships m USING retired r WHERE m.contact_id = r.id
            ",
            contacts,
            now,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }
}

/// What a contact is matched by: its e-mail address and its number.
struct Keys {
    id: Uuid,
    by: [Option<String>; 2],
}

/// Pairs by e-mail address, then by number; each contact once.
fn pair(old: &[Keys], new: &[Keys]) -> HashMap<Uuid, Uuid> {
    let mut pairs = HashMap::new();
    let mut taken = HashSet::new();
    for key in 0..2 {
        let mut by_key: HashMap<&str, Vec<Uuid>> = HashMap::new();
        for contact in new {
            if let Some(text) = &contact.by[key] {
                by_key.entry(text).or_default().push(contact.id);
            }
        }
        for contact in old {
            let others = contact.by[key].as_deref().and_then(|text| by_key.get(text));
            let other = others.into_iter().flatten().find(|id| !taken.contains(*id));
            if let Some(id) = other
                && !pairs.contains_key(&contact.id)
            {
                taken.insert(*id);
                pairs.insert(contact.id, *id);
            }
        }
    }
    pairs
}
