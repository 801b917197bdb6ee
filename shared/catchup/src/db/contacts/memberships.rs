//! `contact_google_memberships`: which Google groups a contact is in.

use shared::db::Error;
use uuid::Uuid;

use super::ContactsPage;

/// A membership of a contact in a Google group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The contact.
    pub contact_id: Uuid,
    /// Resource name of the group.
    pub group: String,
}

impl ContactsPage {
    /// Adds and removes memberships. Who leaves a Google group also leaves the `CatchUp` group that it is mapped to,
    /// unless another Google group leads there.
    pub async fn change_memberships(
        &mut self,
        joined: &[Membership],
        left: &[Membership],
    ) -> Result<(), Error> {
        if joined.is_empty() && left.is_empty() {
            return Ok(());
        }
        let columns = |memberships: &[Membership]| -> (Vec<Uuid>, Vec<String>) {
            memberships.iter().map(|membership| (membership.contact_id, membership.group.clone())).unzip()
        };
        let ((joined_ids, joined_groups), (left_ids, left_groups)) = (columns(joined), columns(left));
        sqlx::query!(
            "
            WITH joined AS (SELECT * FROM unnest($2::uuid[], $3::text[]) AS j(contact_id, google_group)),
            departed AS (SELECT * FROM unnest($4::uuid[], $5::text[]) AS l(contact_id, google_group)),
            removed AS (
                DELETE FROM contact_google_memberships m USING departed d
                WHERE m.contact_id = d.contact_id AND m.google_group_resource_name = d.google_group
            ), mapped AS (
                DELETE FROM contact_groups c
                USING departed d
                JOIN google_contact_groups g
                    ON g.user_id = $1 AND g.google_resource_name = d.google_group AND g.sync_enabled IS NOT FALSE
                WHERE c.contact_id = d.contact_id AND c.group_id = g.catchup_group_id
                  AND NOT EXISTS (
                      SELECT FROM google_contact_groups o
                      JOIN contact_google_memberships m
                          ON m.contact_id = c.contact_id AND m.google_group_resource_name = o.google_resource_name
                      WHERE o.user_id = $1 AND o.catchup_group_id = c.group_id
                        AND (m.contact_id, m.google_group_resource_name) NOT IN (SELECT * FROM departed)
                  )
            )
            INSERT INTO contact_google_memberships (user_id, contact_id, google_group_resource_name)
            SELECT $1, contact_id, google_group FROM joined
            ON CONFLICT (contact_id, google_group_resource_name) DO NOTHING
            ",
            self.user_id,
            &joined_ids,
            &joined_groups,
            &left_ids,
            &left_groups,
        )
        .execute(self.tx.statement())
        .await?;
        Ok(())
    }
}
