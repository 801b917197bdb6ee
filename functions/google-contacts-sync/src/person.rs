//! What of a Google person a contact shows.

use std::collections::BTreeSet;

use catchup::google::people::Person;

use crate::notes;

/// Widths of the application's columns. A name or an address may be cut; half a number, e-mail address or URL is worse
/// than none.
const TEXT_CHARS: usize = 255;
const PHONE_CHARS: usize = 50;

/// A person as Google lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all people have a name")]
pub(crate) enum Listed {
    /// A person with a name.
    Named(ContactFields),
    /// Nothing to show in a list of contacts; there nonetheless.
    Nameless(String),
    /// Deleted since the last sync.
    Deleted(String),
}

/// What a contact shows of a person. Every text fits its column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContactFields {
    pub(crate) resource_name: String,
    /// Resource names that the person had before, as far as Google says so.
    pub(crate) previous: Vec<String>,
    pub(crate) etag: Option<String>,
    pub(crate) name: String,
    pub(crate) phone: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) linked_in: Option<String>,
    pub(crate) location: Option<String>,
    /// "Title at Company".
    pub(crate) organization: Option<String>,
    /// Resource names of the person's groups.
    pub(crate) groups: BTreeSet<String>,
}

impl Listed {
    pub(crate) fn resource_name(&self) -> &str {
        match self {
            Self::Named(fields) => &fields.resource_name,
            Self::Nameless(resource_name) | Self::Deleted(resource_name) => resource_name,
        }
    }

    /// Reads a person; `None` for one that cannot be told apart from others.
    pub(crate) fn of(person: Person) -> Option<Self> {
        let resource_name = whole(person.resource_name.as_deref(), TEXT_CHARS)?;
        if person.metadata.as_ref().and_then(|metadata| metadata.deleted).unwrap_or(false) {
            return Some(Self::Deleted(resource_name));
        }
        let name = first(
            person.names,
            |name| name.metadata.as_ref().and_then(|metadata| metadata.primary),
            |name| {
                let parts =
                    || [name.given_name.as_deref(), name.family_name.as_deref()].into_iter().flatten();
                cut(name.display_name.as_deref())
                    .or_else(|| cut(Some(&parts().collect::<Vec<_>>().join(" "))))
            },
        );
        let Some(name) = name else { return Some(Self::Nameless(resource_name)) };
        let linked_in = person.urls.into_iter().flatten().find_map(|url| {
            whole(url.value.as_deref(), TEXT_CHARS).filter(|url| url.to_lowercase().contains("linkedin.com"))
        });
        let previous = person.metadata.and_then(|metadata| metadata.previous_resource_names);
        let previous = previous.into_iter().flatten().filter_map(|name| whole(Some(&name), TEXT_CHARS));
        let groups = person.memberships.into_iter().flatten().filter_map(|membership| {
            whole(membership.contact_group_membership?.contact_group_resource_name.as_deref(), TEXT_CHARS)
        });
        Some(Self::Named(ContactFields {
            etag: whole(person.etag.as_deref(), TEXT_CHARS),
            name,
            phone: first(
                person.phone_numbers,
                |phone| phone.metadata.as_ref().and_then(|metadata| metadata.primary),
                |phone| whole(phone.value.as_deref(), PHONE_CHARS),
            ),
            email: first(
                person.email_addresses,
                |email| email.metadata.as_ref().and_then(|metadata| metadata.primary),
                |email| whole(email.value.as_deref(), TEXT_CHARS),
            ),
            linked_in,
            location: first(
                person.addresses,
                |address| address.metadata.as_ref().and_then(|metadata| metadata.primary),
                |address| {
                    let parts =
                        || [address.city.as_deref(), address.country.as_deref()].into_iter().flatten();
                    let formatted = address
                        .formatted_value
                        .as_deref()
                        .map(|text| text.lines().collect::<Vec<_>>().join(", "));
                    cut(formatted.as_deref()).or_else(|| cut(Some(&parts().collect::<Vec<_>>().join(", "))))
                },
            ),
            organization: first(
                person.organizations,
                |job| job.metadata.as_ref().and_then(|metadata| metadata.primary),
                |job| {
                    notes::organization(
                        clean(job.title.as_deref()).as_deref(),
                        clean(job.name.as_deref()).as_deref(),
                    )
                },
            ),
            groups: groups.collect(),
            previous: previous.filter(|name| *name != resource_name).collect(),
            resource_name,
        }))
    }
}

/// The usable value that is marked as primary, else the first.
fn first<T, V>(
    values: Option<Vec<T>>,
    primary: impl Fn(&T) -> Option<bool>,
    read: impl Fn(&T) -> Option<V>,
) -> Option<V> {
    let values = values.unwrap_or_default();
    let marked = values.iter().filter(|value| primary(value) == Some(true));
    marked.chain(&values).find_map(read)
}

/// Text that may be cut to fit.
fn cut(text: Option<&str>) -> Option<String> {
    clean(text).map(|text| text.chars().take(TEXT_CHARS).collect::<String>().trim_end().to_owned())
}

/// Text that is worth nothing unless it fits whole.
fn whole(text: Option<&str>, chars: usize) -> Option<String> {
    clean(text).filter(|text| text.chars().count() <= chars)
}

/// Without the space around it, and without NUL, which Postgres does not keep; `None` when nothing is left.
fn clean(text: Option<&str>) -> Option<String> {
    let text = text?.replace('\0', "");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listed(person: Value) -> Option<Listed> {
        Listed::of(serde_json::from_value(person).unwrap())
    }

    #[track_caller]
    fn fields(mut person: Value) -> ContactFields {
        person["resourceName"] = json!("people/c1");
        if person.get("names").is_none() {
            person["names"] = json!([{"displayName": "Ada"}]);
        }
        match listed(person).unwrap() {
            Listed::Named(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_part_of_a_person_has_its_place() {
        let fields = fields(json!({
            "etag": "%e",
            "metadata": {"previousResourceNames": ["people/c0", "people/c1"]},
            "names": [{"displayName": "Ada Lovelace"}],
            "emailAddresses": [{"value": "ada@example.org"}],
            "phoneNumbers": [{"value": "+44 20 1"}],
            "organizations": [{"name": "Analytical Engines", "title": "Programmer"}],
            "urls": [{"value": "https://example.org"}, {"value": "https://www.LinkedIn.com/in/ada"}],
            "addresses": [{"formattedValue": "12 St James's Square\nLondon"}],
            "memberships": [{"contactGroupMembership": {"contactGroupResourceName": "contactGroups/x"}},
                            {"domainMembership": {"inViewerDomain": true}}],
        }));
        let expected = ContactFields {
            resource_name: "people/c1".into(),
            previous: vec!["people/c0".into()],
            etag: Some("%e".into()),
            name: "Ada Lovelace".into(),
            phone: Some("+44 20 1".into()),
            email: Some("ada@example.org".into()),
            linked_in: Some("https://www.LinkedIn.com/in/ada".into()),
            location: Some("12 St James's Square, London".into()),
            organization: Some("Programmer at Analytical Engines".into()),
            groups: ["contactGroups/x".into()].into(),
        };
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_primary_value_comes_before_the_first() {
        let emails = json!([{"value": "old@example.org"}, {"value": "new@example.org", "metadata": {"primary": true}}]);
        assert_eq!(fields(json!({"emailAddresses": emails})).email.as_deref(), Some("new@example.org"));
        let emails = json!([{"value": "old@example.org"}, {"value": " ", "metadata": {"primary": true}}]);
        assert_eq!(fields(json!({"emailAddresses": emails})).email.as_deref(), Some("old@example.org"));
    }

    #[test]
    fn a_name_may_come_in_parts() {
        assert_eq!(fields(json!({"names": [{"givenName": "Ada", "familyName": "King"}]})).name, "Ada King");
    }

    #[test]
    fn no_person_without_a_name_becomes_a_contact() {
        for names in [json!(null), json!([]), json!([{"displayName": " \u{0}"}])] {
            let person =
                json!({"resourceName": "people/c1", "names": names, "emailAddresses": [{"value": "a@b.c"}]});
            assert_eq!(listed(person), Some(Listed::Nameless("people/c1".into())));
        }
    }

    #[test]
    fn the_deleted_are_known_by_their_metadata() {
        let person = json!({"resourceName": "people/c1", "metadata": {"deleted": true}});
        assert_eq!(listed(person), Some(Listed::Deleted("people/c1".into())));
        assert_eq!(listed(json!({"names": [{"displayName": "Ada"}]})), None);
    }

    #[test]
    fn a_long_name_is_cut_and_a_long_number_dropped() {
        let fields = fields(json!({
            "names": [{"displayName": "ä".repeat(300)}],
            "phoneNumbers": [{"value": "1".repeat(51)}, {"value": "2"}],
            "emailAddresses": [{"value": format!("{}@example.org", "x".repeat(255))}],
        }));
        assert_eq!(fields.name.chars().count(), 255);
        assert_eq!(fields.phone.as_deref(), Some("2"));
        assert_eq!(fields.email, None);
    }
}
