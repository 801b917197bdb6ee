//! Contacts that are in the database before the first sync.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use google_stand_in::Person;
use sqlx::PgConnection;
use uuid::Uuid;

/// What only the user decides; a sync must leave it alone.
pub(crate) const INSTAGRAM: &str = "@kept";
pub(crate) const TIME_ZONE: &str = "Pacific/Auckland";
/// A note of the user's own, and one that an earlier sync wrote.
pub(crate) const OWN_NOTE: &str = "Met at the lake.";
const EARLIER_NOTE: &str = "Apprentice at Former & Sons";
/// No person in the world has this number.
const GONE: &str = "people/c1";

/// A contact from before.
#[derive(Debug)]
pub struct OwnContact {
    /// `contacts.id`.
    pub id: Uuid,
    /// How it comes to be there.
    pub origin: Origin,
    email: Option<String>,
    phone: Option<String>,
    pub(crate) note: Option<&'static str>,
    /// The user wants to meet this one every month, and has not for longer.
    pub(super) is_overdue: bool,
    /// Comes before all others.
    pub is_close_friend: bool,
}

/// How a contact comes to be there, and by that what a sync has to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Entered by hand, and in Google with the same address or number: to be linked to this person.
    SameAs(String),
    /// Came from Google and is still there, as this person.
    Linked(String),
    /// Came from Google and is no longer there: to be archived.
    Gone,
    /// Entered by hand and not in Google: to be left alone.
    Foreign,
}

impl Origin {
    fn resource_name(&self) -> Option<&str> {
        match self {
            Self::Linked(name) => Some(name),
            Self::Gone => Some(GONE),
            Self::SameAs(_) | Self::Foreign => None,
        }
    }
}

/// One contact of each kind for which the address book has a person; none for an empty book.
pub(super) fn plan(people: &[Person]) -> Vec<OwnContact> {
    if people.is_empty() {
        return Vec::new();
    }
    let emails =
        count(people.iter().flat_map(|person| &person.emails).map(|email| email.value.to_lowercase()));
    let phones = count(people.iter().flat_map(|person| &person.phones).map(|phone| digits(&phone.value)));
    let mut free = people.iter().filter(|person| person.name.is_some()).filter(|person| {
        // A value that two people share could link the contact to either.
        person.emails.iter().all(|email| emails[&email.value.to_lowercase()] == 1)
            && person.phones.iter().all(|phone| phones[&digits(&phone.value)] == 1)
    });
    let by_email = free.find(|person| person.emails.len() == 1).map(|person| {
        let email = person.emails[0].value.to_uppercase();
        contact(Origin::SameAs(person.resource_name.clone()), Some(email), None, None)
    });
    let by_phone = free.find(|person| person.emails.is_empty() && person.phones.len() == 1).map(|person| {
        let phone = digits(&person.phones[0].value);
        contact(Origin::SameAs(person.resource_name.clone()), None, Some(phone), None)
    });
    let mut linked = |note| {
        let person = free.find(|person| person.organizations.len() == 1)?;
        Some(contact(Origin::Linked(person.resource_name.clone()), None, None, Some(note)))
    };
    let noted = [linked(EARLIER_NOTE), linked(OWN_NOTE)];
    let gone = contact(Origin::Gone, Some("gone@nowhere.example.test".to_owned()), None, None);
    let overdue = |email: &str| OwnContact {
        is_overdue: true,
        ..contact(Origin::Foreign, Some(email.to_owned()), None, Some(OWN_NOTE))
    };
    let foreign = overdue("foreign@nowhere.example.test");
    let friend = OwnContact { is_close_friend: true, ..overdue("friend@nowhere.example.test") };
    [by_email, by_phone].into_iter().chain(noted).flatten().chain([gone, foreign, friend]).collect()
}

fn contact(
    origin: Origin,
    email: Option<String>,
    phone: Option<String>,
    note: Option<&'static str>,
) -> OwnContact {
    OwnContact { id: Uuid::new_v4(), origin, email, phone, note, is_overdue: false, is_close_friend: false }
}

fn count(values: impl Iterator<Item = String>) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

pub(crate) fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

impl OwnContact {
    pub(super) async fn insert(
        &self,
        db: &mut PgConnection,
        user: Uuid,
        now: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let resource_name = self.origin.resource_name();
        sqlx::query(
            "INSERT INTO contacts
                (id, user_id, name, phone, email, instagram, timezone, frequency_preference, last_contact_date,
                 custom_notes, source, google_resource_name, google_etag)
             VALUES ($1, $2, 'An earlier name', $3, $4, $5, $6, 'monthly', $7, $8, $9, $10, $11)",
        )
        .bind(self.id)
        .bind(user)
        .bind(&self.phone)
        .bind(&self.email)
        .bind(INSTAGRAM)
        .bind(TIME_ZONE)
        .bind(now - TimeDelta::days(if self.is_overdue { 60 } else { 20 }))
        .bind(self.note)
        .bind(if resource_name.is_some() { "google" } else { "manual" })
        .bind(resource_name)
        .bind(resource_name.map(|_| "an earlier etag"))
        .execute(db)
        .await?;
        Ok(())
    }
}
