//! `google_contact_groups`, `groups` and `contact_groups`: Google's groups, the user's own, and how they correspond.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

/// A group of the user's in Google. Every text fits its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoogleGroup {
    /// Google's name of it.
    pub resource_name: String,
    /// The user's name of it.
    pub name: String,
    /// Its version.
    pub etag: Option<String>,
    /// How many people Google counts in it.
    pub member_count: i32,
}

/// A Google group for which no mapping was suggested yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmappedGroup {
    /// Google's name of it.
    pub resource_name: String,
    /// The user's name of it.
    pub name: String,
    /// Contacts in it, by the stored memberships.
    pub members: u64,
}

/// A group of the user's in `CatchUp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnGroup {
    /// The row.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Contacts in it.
    pub members: u64,
}

/// Contacts that a Google group and a group of the user's have in common; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Google's name of the one.
    pub resource_name: String,
    /// The other.
    pub group_id: Uuid,
    /// Contacts in both.
    pub common: u64,
}

/// What the user is asked to do with a Google group.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingSuggestion {
    /// Google's name of it.
    pub resource_name: String,
    /// The group to map it to; `None` suggests a new one.
    pub group_id: Option<Uuid>,
    /// Name of the group to map to, or of the new one.
    pub group_name: String,
    /// From 0 to 1.
    pub confidence: f64,
    /// For the user.
    pub reason: String,
}

handle! {
    /// `google_contact_groups`, `groups` and `contact_groups`: Google's groups, the user's own, and how they correspond.
    ContactGroups
}

impl ContactGroups {
    /// Writes a page of Google groups, and returns how many rows that took. Rows that would not change are not touched,
    /// and nothing that the user decided changes.
    pub async fn upsert_google(
        &self,
        user_id: Uuid,
        groups: &[GoogleGroup],
        now: DateTime<Utc>,
    ) -> Result<u64, Error> {
        if groups.is_empty() {
            return Ok(0);
        }
        let resource_names: Vec<&str> = groups.iter().map(|group| group.resource_name.as_str()).collect();
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let etags: Vec<Option<&str>> = groups.iter().map(|group| group.etag.as_deref()).collect();
        let member_counts: Vec<i32> = groups.iter().map(|group| group.member_count).collect();
        let written = sqlx::query!(
            "
            INSERT INTO google_contact_groups
                (user_id, google_resource_name, google_name, google_etag, member_count, last_synced_at)
            SELECT $1, l.resource_name, l.name, l.etag, l.member_count, $6
            FROM (
                SELECT DISTINCT ON (resource_name) *
                FROM unnest($2::text[], $3::text[], $4::text[], $5::integer[])
                    AS u(resource_name, name, etag, member_count)
                ORDER BY resource_name
            ) l
            LEFT JOIN google_contact_groups g ON g.user_id = $1 AND g.google_resource_name = l.resource_name
            WHERE g.id IS NULL
               OR (g.google_name, g.google_etag, g.member_count) IS DISTINCT FROM (l.name, l.etag, l.member_count)
            ON CONFLICT (user_id, google_resource_name) DO UPDATE
            SET google_name = excluded.google_name, google_etag = excluded.google_etag,
                member_count = excluded.member_count, last_synced_at = excluded.last_synced_at
            ",
            user_id,
            resource_names.as_slice() as _,
            names.as_slice() as _,
            etags.as_slice() as _,
            &member_counts,
            now,
        )
        .execute(self.0.statement())
        .await?;
        Ok(written.rows_affected())
    }

    /// Removes the Google groups that Google did not list, and returns how many. The user's own groups stay.
    pub async fn remove_unseen_google(&self, user_id: Uuid, seen: &[String]) -> Result<u64, Error> {
        let removed = sqlx::query!(
            "
            DELETE FROM google_contact_groups
            WHERE user_id = $1 AND google_resource_name <> ALL ($2) AND $2 <> '{}'
              AND catchup_group_id IS NULL AND reviewed_at IS NULL AND mapping_status IS NOT DISTINCT FROM 'pending'
              AND COALESCE(excluded_members, '{}') = '{}'
            ",
            user_id,
            seen,
        )
        .execute(self.0.statement())
        .await?;
        Ok(removed.rows_affected())
    }

    /// The Google groups for which no mapping was suggested or decided yet.
    pub async fn unmapped_google(&self, user_id: Uuid) -> Result<Vec<UnmappedGroup>, Error> {
        let groups = sqlx::query!(
            r#"
            SELECT g.google_resource_name, g.google_name, (
                SELECT count(*) FROM contact_google_memberships m
                WHERE m.user_id = $1 AND m.google_group_resource_name = g.google_resource_name
            ) AS "members!"
            FROM google_contact_groups g
            WHERE g.user_id = $1 AND g.catchup_group_id IS NULL AND g.suggested_action IS NULL AND g.reviewed_at IS NULL
            ORDER BY g.google_resource_name
            "#,
            user_id
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(groups
            .into_iter()
            .map(|row| UnmappedGroup {
                resource_name: row.google_resource_name,
                name: row.google_name,
                members: row.members.cast_unsigned(),
            })
            .collect())
    }

    /// The user's own groups that are in use, by name.
    pub async fn own(&self, user_id: Uuid) -> Result<Vec<OwnGroup>, Error> {
        let groups = sqlx::query!(
            r#"
            SELECT g.id, g.name, (SELECT count(*) FROM contact_groups c WHERE c.group_id = g.id) AS "members!"
            FROM groups g
            WHERE g.user_id = $1 AND g.archived IS NOT TRUE
            ORDER BY g.name, g.id
            "#,
            user_id
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(groups
            .into_iter()
            .map(|row| OwnGroup { id: row.id, name: row.name, members: row.members.cast_unsigned() })
            .collect())
    }

    /// How many contacts each of these Google groups has in common with each of the user's own.
    pub async fn overlaps(&self, user_id: Uuid, google_groups: &[&str]) -> Result<Vec<Overlap>, Error> {
        let overlaps = sqlx::query!(
            r#"
            SELECT m.google_group_resource_name, c.group_id, count(*) AS "common!"
            FROM contact_google_memberships m
            JOIN contact_groups c ON c.contact_id = m.contact_id
            WHERE m.user_id = $1 AND m.google_group_resource_name = ANY ($2)
            GROUP BY m.google_group_resource_name, c.group_id
            "#,
            user_id,
            google_groups as _,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(overlaps
            .into_iter()
            .map(|row| Overlap {
                resource_name: row.google_group_resource_name,
                group_id: row.group_id,
                common: row.common.cast_unsigned(),
            })
            .collect())
    }

    /// Writes suggestions to Google groups that have none.
    pub async fn suggest_mappings(
        &self,
        user_id: Uuid,
        suggestions: &[MappingSuggestion],
    ) -> Result<(), Error> {
        let resource_names: Vec<&str> =
            suggestions.iter().map(|suggestion| suggestion.resource_name.as_str()).collect();
        let group_ids: Vec<Option<Uuid>> = suggestions.iter().map(|suggestion| suggestion.group_id).collect();
        let group_names: Vec<&str> =
            suggestions.iter().map(|suggestion| suggestion.group_name.as_str()).collect();
        let confidences: Vec<f64> = suggestions.iter().map(|suggestion| suggestion.confidence).collect();
        let reasons: Vec<&str> = suggestions.iter().map(|suggestion| suggestion.reason.as_str()).collect();
        sqlx::query!(
            "
            UPDATE google_contact_groups g
            SET suggested_action = CASE WHEN s.group_id IS NULL THEN 'create_new' ELSE 'map_to_existing' END,
                suggested_group_id = s.group_id, suggested_group_name = s.group_name,
                confidence_score = round(s.confidence::numeric, 4), suggestion_reason = s.reason
            FROM unnest($2::text[], $3::uuid[], $4::text[], $5::float8[], $6::text[])
                AS s(resource_name, group_id, group_name, confidence, reason)
            WHERE g.user_id = $1 AND g.google_resource_name = s.resource_name
              AND g.catchup_group_id IS NULL AND g.suggested_action IS NULL AND g.reviewed_at IS NULL
            ",
            user_id,
            resource_names.as_slice() as _,
            group_ids.as_slice() as _,
            group_names.as_slice() as _,
            &confidences,
            reasons.as_slice() as _,
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// Gives the groups of approved mappings the members that the stored memberships name, takes those out whom the
    /// user excluded (by contact id or by Google's resource name) and whom no other mapping leads there, and returns
    /// how many rows that took.
    pub async fn fill_mapped(&self, user_id: Uuid) -> Result<u64, Error> {
        let changed = sqlx::query_scalar!(
            r#"
            WITH mapping AS (
                SELECT google_resource_name, catchup_group_id AS group_id,
                       COALESCE(excluded_members, '{}') AS excluded
                FROM google_contact_groups
                WHERE user_id = $1 AND catchup_group_id IS NOT NULL AND sync_enabled IS NOT FALSE
            ), wanted AS MATERIALIZED (
                SELECT DISTINCT c.id AS contact_id, g.group_id
                FROM mapping g
                JOIN contact_google_memberships m
                    ON m.user_id = $1 AND m.google_group_resource_name = g.google_resource_name
                JOIN contacts c ON c.id = m.contact_id
                WHERE c.archived IS NOT TRUE
                  AND c.id::text <> ALL (g.excluded) AND c.google_resource_name <> ALL (g.excluded)
            ), removed AS (
                DELETE FROM contact_groups x
                USING mapping g, contacts c
                WHERE x.group_id = g.group_id AND c.id = x.contact_id
                  AND (c.id::text = ANY (g.excluded) OR c.google_resource_name = ANY (g.excluded))
                  AND NOT EXISTS (
                      SELECT FROM wanted w WHERE w.contact_id = x.contact_id AND w.group_id = x.group_id
                  )
                RETURNING 1
            ), added AS (
                INSERT INTO contact_groups (contact_id, group_id)
                SELECT w.contact_id, w.group_id
                FROM wanted w
                WHERE NOT EXISTS (
                    SELECT FROM contact_groups x WHERE x.contact_id = w.contact_id AND x.group_id = w.group_id
                )
                ON CONFLICT DO NOTHING
                RETURNING 1
            )
            SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM added) AS "changed!"
            "#,
            user_id
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(changed.cast_unsigned())
    }
}
