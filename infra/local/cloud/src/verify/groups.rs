//! Contact groups, suggested mappings, and the members of approved ones.

use std::collections::BTreeSet;

use google_stand_in::{ContactGroup, GroupType, Integration};
use sqlx::FromRow;
use uuid::Uuid;

use super::Check;

const SAME_NAME_NO_MEMBERS: f64 = 0.5;
const NEW_GROUP: f64 = 0.9;
const ROUNDING: f64 = 0.005;

#[derive(FromRow)]
struct GroupRow {
    google_resource_name: String,
    google_name: String,
    google_group_type: Option<String>,
    member_count: Option<i32>,
    mapping_status: Option<String>,
    catchup_group_id: Option<Uuid>,
    suggested_action: Option<String>,
    suggested_group_id: Option<Uuid>,
    suggested_group_name: Option<String>,
    confidence: Option<f64>,
}

impl Check<'_> {
    pub(super) async fn groups(&mut self) -> anyhow::Result<()> {
        if !self.is_synced(Integration::GoogleContacts) {
            return Ok(());
        }
        let rows: Vec<GroupRow> = sqlx::query_as(
            "SELECT google_resource_name, google_name, google_group_type, member_count, mapping_status,
                    catchup_group_id, suggested_action, suggested_group_id, suggested_group_name,
                    confidence_score::float8 AS confidence
             FROM google_contact_groups WHERE user_id = $1",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await?;
        let groups: Vec<ContactGroup> = self
            .world
            .groups(self.user.id)?
            .into_iter()
            .filter(|group| group.group_type == GroupType::UserContactGroup)
            .collect();
        self.same("number of google_contact_groups", rows.len(), groups.len());
        for group in &groups {
            match rows.iter().find(|row| row.google_resource_name == group.resource_name) {
                Some(row) => self.group(row, group),
                None => self.differs(format!("google_contact_groups {}: missing", group.resource_name)),
            }
        }
        self.approved_members().await
    }

    fn group(&mut self, row: &GroupRow, group: &ContactGroup) {
        let before = &self.before.groups;
        let namesake = before.namesake.as_ref().filter(|pair| pair.google == group.resource_name);
        let approved =
            before.approved.as_ref().filter(|approved| approved.pair.google == group.resource_name);
        let suggestion = (row.suggested_action.as_deref(), row.suggested_group_id);
        let confident =
            |expected: f64| row.confidence.is_some_and(|found| (found - expected).abs() < ROUNDING);
        let (mapping, status) = match (approved, namesake) {
            (Some(approved), _) => (row.catchup_group_id == Some(approved.pair.group), "approved"),
            (None, Some(pair)) => {
                let suggested = suggestion == (Some("map_to_existing"), Some(pair.group));
                (suggested && row.catchup_group_id.is_none() && confident(SAME_NAME_NO_MEMBERS), "pending")
            }
            (None, None) => {
                let suggested = suggestion == (Some("create_new"), None)
                    && row.suggested_group_name.as_deref() == Some(group.name.as_str());
                (suggested && row.catchup_group_id.is_none() && confident(NEW_GROUP), "pending")
            }
        };
        let fields = [
            ("google_name", row.google_name == group.name),
            ("google_group_type", row.google_group_type.as_deref() == Some("USER_CONTACT_GROUP")),
            ("member_count", row.member_count == i32::try_from(group.member_count).ok()),
            ("mapping_status", row.mapping_status.as_deref() == Some(status)),
            ("mapping or suggestion", mapping),
        ];
        for (field, _) in fields.iter().filter(|(_, same)| !same) {
            self.differs(format!("google_contact_groups {}: {field} differs", group.resource_name));
        }
    }

    async fn approved_members(&mut self) -> anyhow::Result<()> {
        let Some(approved) = &self.before.groups.approved else { return Ok(()) };
        let found: Vec<Option<String>> = sqlx::query_scalar(
            "SELECT c.google_resource_name FROM contact_groups g JOIN contacts c ON c.id = g.contact_id
             WHERE g.group_id = $1",
        )
        .bind(approved.pair.group)
        .fetch_all(&mut *self.db)
        .await?;
        let found: BTreeSet<String> = found.into_iter().map(Option::unwrap_or_default).collect();
        let members = self.world.people(self.user.id)?.into_iter().filter(|person| {
            person.name.is_some()
                && person.memberships.contains(&approved.pair.google)
                && approved.excluded.as_ref() != Some(&person.resource_name)
        });
        let expected = members.map(|person| person.resource_name).collect();
        self.same("members of an approved group", found, expected);
        Ok(())
    }
}
