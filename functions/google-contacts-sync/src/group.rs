//! What is kept of a contact group.

use catchup::db::contact_groups::GoogleGroup;
use catchup::google::people::ContactGroup;

const TEXT_CHARS: usize = 255;
const USER_GROUP: &str = "USER_CONTACT_GROUP";

/// A group that the user made; Google's own, such as "My contacts", are left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UserGroup(pub(crate) GoogleGroup);

impl UserGroup {
    /// Reads a group; `None` for one that is deleted, not the user's, or without a name.
    pub(crate) fn of(group: ContactGroup) -> Option<Self> {
        let deleted = group.metadata.and_then(|metadata| metadata.deleted).unwrap_or(false);
        if deleted || group.group_type.as_deref() != Some(USER_GROUP) {
            return None;
        }
        let fits = |text: &String| text.chars().count() <= TEXT_CHARS;
        let name: String =
            group.name.or(group.formatted_name)?.replace('\0', "").trim().chars().take(TEXT_CHARS).collect();
        Some(Self(GoogleGroup {
            resource_name: group.resource_name.filter(fits)?,
            name: Some(name).filter(|name| !name.is_empty())?,
            etag: group.etag.filter(fits),
            member_count: group.member_count.unwrap_or(0),
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name_of(group: serde_json::Value) -> Option<String> {
        UserGroup::of(serde_json::from_value(group).unwrap()).map(|UserGroup(group)| group.name)
    }

    #[test]
    fn only_groups_of_the_users_own_are_kept() {
        let group =
            json!({"resourceName": "contactGroups/1", "groupType": "USER_CONTACT_GROUP", "name": " Hiking "});
        assert_eq!(name_of(group.clone()).as_deref(), Some("Hiking"));
        for (key, value) in [
            ("groupType", json!("SYSTEM_CONTACT_GROUP")),
            ("metadata", json!({"deleted": true})),
            ("name", json!("")),
            ("resourceName", json!(null)),
        ] {
            let mut other = group.clone();
            other[key] = value;
            assert_eq!(name_of(other), None, "{key}");
        }
    }
}
