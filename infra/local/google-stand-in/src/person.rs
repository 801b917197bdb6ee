//! A person of an address book and the field mask by which People v1 shows them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A value with a label, such as an e-mail address or a telephone number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labelled {
    /// The value as the user typed it.
    pub value: String,
    /// `home`, `work`, …
    pub label: String,
    /// `metadata.primary`.
    pub primary: bool,
}

/// A name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonName {
    /// Given name.
    pub given: String,
    /// Family name; may be empty.
    pub family: String,
}

impl PersonName {
    /// `displayName`.
    #[must_use]
    pub fn display(&self) -> String {
        format!("{} {}", self.given, self.family).trim().to_owned()
    }
}

/// Where a person works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// The organisation.
    pub name: Option<String>,
    /// The person's title there.
    pub title: Option<String>,
}

/// Where a person lives or works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `formattedValue`.
    pub formatted: String,
    /// City.
    pub city: String,
    /// Country.
    pub country: String,
    /// `home` or `work`.
    pub label: String,
}

/// A person of an address book.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// `people/c…`; given when the person enters the world.
    pub resource_name: String,
    /// Changes with every change.
    pub etag: String,
    /// Absent for those known only by an address or a number.
    pub name: Option<PersonName>,
    /// E-mail addresses.
    pub emails: Vec<Labelled>,
    /// Telephone numbers, in whatever form the user typed them.
    pub phones: Vec<Labelled>,
    /// Organisations.
    pub organizations: Vec<Organization>,
    /// Web pages and profiles.
    pub urls: Vec<Labelled>,
    /// Postal addresses.
    pub addresses: Vec<Address>,
    /// Resource names of the contact groups, e.g. `contactGroups/myContacts`.
    pub memberships: Vec<String>,
    /// `metadata.previousResourceNames`: of a person who was renamed, and of those who were merged into this one.
    pub previous_resource_names: Vec<String>,
}

/// `groupType` of a contact group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupType {
    /// Made by the user.
    UserContactGroup,
    /// Made by Google.
    SystemContactGroup,
}

/// A contact group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactGroup {
    /// `contactGroups/…`.
    pub resource_name: String,
    /// Changes with every change, also of the number of members.
    pub etag: String,
    /// Who made it.
    pub group_type: GroupType,
    /// Name.
    pub name: String,
    /// How many people of the address book belong to it.
    pub member_count: usize,
}

/// The masks that People v1 documents for `people.connections.list`.
const PERSON_FIELDS: &[&str] = &[
    "addresses",
    "ageRanges",
    "biographies",
    "birthdays",
    "calendarUrls",
    "clientData",
    "coverPhotos",
    "emailAddresses",
    "events",
    "externalIds",
    "genders",
    "imClients",
    "interests",
    "locales",
    "locations",
    "memberships",
    "metadata",
    "miscKeywords",
    "names",
    "nicknames",
    "occupations",
    "organizations",
    "phoneNumbers",
    "photos",
    "relations",
    "sipAddresses",
    "skills",
    "urls",
    "userDefined",
];

/// The parts of a person that a caller asked for; a set, so that the order of asking does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PersonFields(BTreeSet<String>);

impl PersonFields {
    /// Reads `names,emailAddresses`; the error is the first path that People v1 does not know.
    pub(crate) fn parse(mask: &str) -> Result<Self, String> {
        let paths = mask.split(',').map(str::trim).filter(|path| !path.is_empty());
        paths
            .map(
                |path| if PERSON_FIELDS.contains(&path) { Ok(path.to_owned()) } else { Err(path.to_owned()) },
            )
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains(path)
    }
}
