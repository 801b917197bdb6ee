//! A person as People v1 writes them, cut down to the field mask. Borrowed and written in one pass, so that a page of a
//! thousand people is cheap even unoptimised.

use serde::Serialize;

use crate::address_book::Row;
use crate::person::{Labelled, Person, PersonFields};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WirePerson<'a> {
    resource_name: &'a str,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<PersonMetadata<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<PersonName<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    email_addresses: Vec<LabelledValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phone_numbers: Vec<LabelledValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    organizations: Vec<Organization<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<LabelledValue<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memberships: Vec<Membership<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PersonMetadata<'a> {
    sources: [Source<'a>; 1],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    previous_resource_names: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    object_type: &'static str,
}

#[derive(Serialize, Clone, Copy)]
struct Source<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldMetadata<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    primary: bool,
    source: Source<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PersonName<'a> {
    metadata: FieldMetadata<'a>,
    display_name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    family_name: &'a str,
    given_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LabelledValue<'a> {
    metadata: FieldMetadata<'a>,
    value: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Organization<'a> {
    metadata: FieldMetadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Address<'a> {
    metadata: FieldMetadata<'a>,
    formatted_value: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    city: &'a str,
    country: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Membership<'a> {
    metadata: FieldMetadata<'a>,
    contact_group_membership: GroupMembership<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupMembership<'a> {
    contact_group_id: &'a str,
    contact_group_resource_name: &'a str,
}

impl<'a> WirePerson<'a> {
    /// `is_change` for a list of changes: only there Google says what a person was called before.
    /// <https://developers.google.com/people/api/rest/v1/people#PersonMetadata>
    pub(crate) fn new(row: &'a Row, fields: &PersonFields, is_change: bool) -> Self {
        let (resource_name, etag, person) = match row {
            Row::Live(person) => (&person.resource_name, &person.etag, Some(&**person)),
            Row::Deleted { resource_name, etag } => (resource_name, etag, None),
        };
        let source = Source { kind: "CONTACT", id: id_of(resource_name) };
        let previous = person.filter(|_| is_change).map(|person| person.previous_resource_names.as_slice());
        let metadata = PersonMetadata {
            sources: [source],
            previous_resource_names: previous.unwrap_or_default(),
            deleted: person.is_none(),
            object_type: "PERSON",
        };
        let mut wire = Self {
            resource_name,
            etag,
            metadata: fields.has("metadata").then_some(metadata),
            names: Vec::new(),
            email_addresses: Vec::new(),
            phone_numbers: Vec::new(),
            organizations: Vec::new(),
            urls: Vec::new(),
            addresses: Vec::new(),
            memberships: Vec::new(),
        };
        if let Some(person) = person {
            wire.fill(person, source, fields);
        }
        wire
    }

    fn fill(&mut self, person: &'a Person, source: Source<'a>, fields: &PersonFields) {
        let first = |at: usize| FieldMetadata { primary: at == 0, source };
        let values = |labelled: &'a [Labelled]| -> Vec<LabelledValue<'a>> {
            labelled
                .iter()
                .map(|item| LabelledValue {
                    metadata: FieldMetadata { primary: item.primary, source },
                    value: &item.value,
                    kind: &item.label,
                })
                .collect()
        };
        if fields.has("names") {
            self.names = person
                .name
                .iter()
                .map(|name| PersonName {
                    metadata: first(0),
                    display_name: name.display(),
                    family_name: &name.family,
                    given_name: &name.given,
                })
                .collect();
        }
        if fields.has("emailAddresses") {
            self.email_addresses = values(&person.emails);
        }
        if fields.has("phoneNumbers") {
            self.phone_numbers = values(&person.phones);
        }
        if fields.has("organizations") {
            self.organizations = person
                .organizations
                .iter()
                .enumerate()
                .map(|(at, organization)| Organization {
                    metadata: first(at),
                    name: organization.name.as_deref(),
                    title: organization.title.as_deref(),
                })
                .collect();
        }
        if fields.has("urls") {
            self.urls = values(&person.urls);
        }
        if fields.has("addresses") {
            self.addresses = person
                .addresses
                .iter()
                .enumerate()
                .map(|(at, address)| Address {
                    metadata: first(at),
                    formatted_value: &address.formatted,
                    kind: &address.label,
                    city: &address.city,
                    country: &address.country,
                })
                .collect();
        }
        if fields.has("memberships") {
            self.memberships = person
                .memberships
                .iter()
                .map(|name| Membership {
                    metadata: FieldMetadata { primary: false, source },
                    contact_group_membership: GroupMembership {
                        contact_group_id: id_of(name),
                        contact_group_resource_name: name,
                    },
                })
                .collect();
        }
    }
}

/// What follows the slash: `contactGroups/starred` → `starred`, `people/c12` → `c12`.
fn id_of(resource_name: &str) -> &str {
    resource_name.split_once('/').map_or(resource_name, |(_, id)| id)
}
