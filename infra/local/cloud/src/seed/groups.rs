//! Groups that are in the database before the first sync, and one mapping that the user approved.

use google_stand_in::{ContactGroup, GroupType, Person, World};
use sqlx::PgConnection;
use uuid::Uuid;

/// Groups from before.
#[derive(Debug, Default)]
pub struct OwnGroups {
    /// A group with the name of one of Google's, in another case: its mapping must be suggested.
    pub namesake: Option<Pair>,
    /// An approved mapping: the group's members must come from Google's.
    pub approved: Option<Approved>,
}

/// One group here and one at Google.
#[derive(Debug)]
pub struct Pair {
    /// `groups.id`.
    pub group: Uuid,
    /// `groups.name`.
    pub name: String,
    /// Google's resource name.
    pub google: String,
}

/// A mapping that the user approved.
#[derive(Debug)]
pub struct Approved {
    /// The two groups.
    pub pair: Pair,
    /// Resource name of a member that the user does not want here.
    pub excluded: Option<String>,
}

pub(super) fn plan(world: &World, user: Uuid, people: &[Person]) -> anyhow::Result<OwnGroups> {
    let mut own =
        world.groups(user)?.into_iter().filter(|group| group.group_type == GroupType::UserContactGroup);
    let namesake = own.next().map(|group| pair(&group, group.name.to_uppercase()));
    let approved = own.next().map(|group| Approved {
        pair: pair(&group, "People I choose myself".to_owned()),
        excluded: people
            .iter()
            .find(|person| person.name.is_some() && person.memberships.contains(&group.resource_name))
            .map(|person| person.resource_name.clone()),
    });
    Ok(OwnGroups { namesake, approved })
}

fn pair(group: &ContactGroup, name: String) -> Pair {
    Pair { group: Uuid::new_v4(), name, google: group.resource_name.clone() }
}

impl OwnGroups {
    pub(super) async fn insert(&self, db: &mut PgConnection, user: Uuid) -> sqlx::Result<()> {
        for pair in self.namesake.iter().chain(self.approved.iter().map(|approved| &approved.pair)) {
            sqlx::query("INSERT INTO groups (id, user_id, name) VALUES ($1, $2, $3)")
                .bind(pair.group)
                .bind(user)
                .bind(&pair.name)
                .execute(&mut *db)
                .await?;
        }
        if let Some(Approved { pair, excluded }) = &self.approved {
            sqlx::query(
                "INSERT INTO google_contact_groups
                    (user_id, catchup_group_id, google_resource_name, google_name, mapping_status, excluded_members,
                     reviewed_at)
                 VALUES ($1, $2, $3, 'An earlier name', 'approved', $4, now())",
            )
            .bind(user)
            .bind(pair.group)
            .bind(&pair.google)
            .bind(excluded.iter().collect::<Vec<_>>())
            .execute(db)
            .await?;
        }
        Ok(())
    }
}
