//! Who lives here: people of every kind, in all zones, with contacts whom they want to meet.

use catchup::google::TokenCipher;
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use google_stand_in::{User, World};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::seed::{insert_number, insert_preferences};

/// How a person lives with what they get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Thirty friends to meet once a month; says afterwards who was met.
    Settled,
    /// Has imported 500 contacts, and said nothing about them.
    New,
    /// Reacts to nothing.
    Ignores,
    /// Dismisses all of it in the application, sometimes with a reason.
    Dismisses,
    /// Snoozes all of it in the application, for 3, 7 or 14 days.
    Snoozes,
    /// Accepts, and enters the meeting in the calendar.
    Meets,
    /// Pauses suggestions for two weeks.
    Pauses,
    /// Lives in another zone every two weeks.
    Travels,
    /// Takes the calendar back, and connects it again three weeks later.
    Revokes,
    /// Has neither a number nor e-mail switched on.
    Unreached,
    /// Replies STOP or unsubscribes, and some of them come again.
    Leaves,
    /// Has a number that takes no texts, and e-mail.
    Landline,
    /// Says anything about anything, in the application, by mail and by text, and changes their mind.
    Fickle,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::Settled,
        Self::New,
        Self::Ignores,
        Self::Dismisses,
        Self::Snoozes,
        Self::Meets,
        Self::Pauses,
        Self::Travels,
        Self::Revokes,
        Self::Unreached,
        Self::Leaves,
        Self::Landline,
        Self::Fickle,
    ];

    /// Whether e-mail and texts are switched on.
    const fn channels(self, place: usize) -> [bool; 2] {
        match self {
            Self::Settled | Self::Dismisses | Self::Meets | Self::Revokes | Self::New => [true, false],
            Self::Pauses | Self::Travels => [false, true],
            Self::Snoozes | Self::Leaves | Self::Landline | Self::Fickle => [true, true],
            Self::Ignores => [place.is_multiple_of(2), !place.is_multiple_of(2)],
            Self::Unreached => [false, false],
        }
    }

    /// The frequencies of their contacts, and how many have each; `None` for those who were imported.
    const fn circle(self) -> &'static [(Option<&'static str>, usize)] {
        match self {
            Self::Settled => &[(Some("monthly"), 30)],
            Self::New => &[(None, 500)],
            Self::Ignores
            | Self::Dismisses
            | Self::Snoozes
            | Self::Meets
            | Self::Pauses
            | Self::Travels
            | Self::Revokes
            | Self::Unreached
            | Self::Leaves
            | Self::Landline
            | Self::Fickle => &[
                (Some("weekly"), 1),
                (Some("biweekly"), 2),
                (Some("monthly"), 6),
                (Some("quarterly"), 4),
                (Some("yearly"), 1),
                (Some("flexible"), 1),
                (Some("na"), 1),
            ],
        }
    }
}

/// A person.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) kind: Kind,
    /// Among those of the same kind.
    pub(crate) place: usize,
    pub(crate) address: String,
    pub(crate) number: Option<String>,
    pub(crate) wants_email: bool,
    /// Where they are now.
    pub(crate) zone: Tz,
    /// Weekday of the batch, 0 is Sunday.
    pub(crate) batch_day: u32,
    pub(crate) batch_time: NaiveTime,
}

/// When batches are: mostly in the morning, some in the evening or at night.
const TIMES: [(u32, u32); 5] = [(9, 0), (7, 30), (18, 15), (12, 45), (22, 30)];

impl Person {
    pub(crate) fn new(user: &User, place: usize) -> Self {
        let kind = Kind::ALL[place % Kind::ALL.len()];
        let place = place / Kind::ALL.len();
        let [wants_email, wants_texts] = kind.channels(place);
        let (hour, minute) = TIMES[(place + kind as usize) % TIMES.len()];
        Self {
            id: user.id,
            kind,
            place,
            address: user.email.clone(),
            number: wants_texts.then(|| format!("+44207{:02}{place:05}", kind as usize)),
            wants_email,
            zone: user.time_zone,
            batch_day: if place.is_multiple_of(2) { 0 } else { u32::try_from(place % 7).unwrap_or(0) },
            batch_time: NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or_default(),
        }
    }

    /// Contacts of whom they want to hear again and again.
    pub(crate) fn due_contacts(&self) -> usize {
        self.kind.circle().iter().map(|(_, count)| count).sum()
    }

    /// How many of the three in a digest are new to them: one is what those hear again who put something off each week.
    pub(crate) const fn new_per_week(&self) -> usize {
        match self.kind {
            Kind::New | Kind::Snoozes | Kind::Landline | Kind::Fickle => 2,
            Kind::Settled
            | Kind::Ignores
            | Kind::Dismisses
            | Kind::Meets
            | Kind::Pauses
            | Kind::Travels
            | Kind::Revokes
            | Kind::Unreached
            | Kind::Leaves => 3,
        }
    }

    /// Puts what they told the application into the database.
    pub(crate) async fn insert(
        &self,
        db: &mut PgConnection,
        cipher: &TokenCipher,
        now: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let (wants, weekly) = ([self.number.is_some(), self.wants_email], (self.batch_day, self.batch_time));
        insert_preferences(db, self.id, wants, weekly, Some(self.zone.name())).await?;
        if let Some(number) = &self.number {
            insert_number(db, self.id, cipher, number, true).await?;
        }
        self.insert_contacts(db, now).await
    }

    /// Each with a name and an address of its own, and last met some weeks ago.
    async fn insert_contacts(&self, db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<()> {
        let circle =
            self.kind.circle().iter().flat_map(|(frequency, count)| (0..*count).map(move |_| *frequency));
        let frequencies: Vec<Option<&str>> = circle.collect();
        let names: Vec<String> = (0..frequencies.len()).map(name).collect();
        let addresses: Vec<String> =
            (0..frequencies.len()).map(|place| format!("friend.{place}@friends.test")).collect();
        let last: Vec<Option<DateTime<Utc>>> = frequencies
            .iter()
            .zip(0_i64..)
            .map(|(frequency, place)| frequency.map(|_| now - TimeDelta::days(5 + place * 17 % 60)))
            .collect();
        sqlx::query(
            "INSERT INTO contacts (user_id, name, email, frequency_preference, last_contact_date, source)
             SELECT $1, name, email, frequency::frequency_option, last, 'manual'
             FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) c (name, email, frequency, last)",
        )
        .bind(self.id)
        .bind(names)
        .bind(addresses)
        .bind(frequencies)
        .bind(last)
        .execute(db)
        .await?;
        Ok(())
    }
}

/// Everybody.
pub(crate) fn people(world: &World) -> Vec<Person> {
    world.users().iter().enumerate().map(|(place, user)| Person::new(user, place)).collect()
}

/// Names that no two contacts of one person share.
fn name(place: usize) -> String {
    const GIVEN: [&str; 26] = [
        "Anna", "Ben", "Clara", "David", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Luca",
        "Mina", "Nils", "Olena", "Paul", "Ruth", "Sami", "Tara", "Umar", "Vera", "Wim", "Xenia", "Yuki",
        "Zoe", "Amir",
    ];
    const FAMILY: [&str; 20] = [
        "Adler", "Brandt", "Costa", "Dahl", "Ek", "Fuchs", "Grau", "Holm", "Ito", "Jansen", "Kern", "Lind",
        "Moreau", "Novak", "Olsen", "Pohl", "Rossi", "Stern", "Tamm", "Vogel",
    ];
    format!("{} {}", GIVEN[place % GIVEN.len()], FAMILY[place / GIVEN.len() % FAMILY.len()])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_contacts_have_one_name() {
        let most = Kind::ALL.iter().map(|kind| kind.circle().iter().map(|(_, count)| count).sum::<usize>());
        let most = most.max().unwrap();
        assert_eq!((0..most).map(name).collect::<HashSet<_>>().len(), most);
    }
}
