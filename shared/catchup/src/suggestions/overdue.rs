//! Who is overdue, in which order, and why.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use crate::db::suggestions::Contact;

const BASE_PRIORITY: f64 = 100.0;
const PRIORITY_GROWTH: f64 = 50.0;

/// How often a user wants to be in touch: `frequency_option`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::EnumIter, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Frequency {
    Daily,
    Weekly,
    Biweekly,
    #[default]
    Monthly,
    Quarterly,
    Yearly,
    Flexible,
    Na,
}

impl Frequency {
    /// What the database says; a contact without a frequency is due monthly.
    fn of(contact: &Contact) -> Self {
        contact.frequency.as_deref().and_then(|name| name.parse().ok()).unwrap_or_default()
    }

    /// Days after which a contact is overdue.
    #[must_use]
    pub fn days(self) -> i64 {
        match self {
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Biweekly => 14,
            Self::Monthly => 30,
            Self::Quarterly => 90,
            Self::Yearly | Self::Na => 365,
            Self::Flexible => 60,
        }
    }
}

/// Someone whom the user should meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Overdue {
    /// Whom.
    pub contact: Contact,
    /// For how many whole days.
    pub days: u32,
}

/// Those who are overdue, the first to meet first: close friends, then by days overdue.
///
/// Someone who was never met is overdue since the user has the contact, whatever the frequency: there is nothing yet
/// from which it could count.
#[must_use]
pub fn overdue(contacts: Vec<Contact>, now: DateTime<Utc>) -> Vec<Overdue> {
    let days = |contact: &Contact| {
        let days = match contact.last_contact {
            Some(last) => (now - last).num_days() - Frequency::of(contact).days(),
            None => contact.created_at.map_or(0, |created| (now - created).num_days().max(0)),
        };
        u32::try_from(days).ok()
    };
    let mut overdue: Vec<Overdue> = contacts
        .into_iter()
        .filter_map(|contact| days(&contact).map(|days| Overdue { contact, days }))
        .collect();
    overdue.sort_unstable_by_key(|overdue| {
        let Contact { id, is_close, last_contact, created_at, .. } = overdue.contact;
        (Reverse(is_close), Reverse(overdue.days), last_contact.or(created_at), id)
    });
    overdue
}

impl Overdue {
    /// 100 + 50·ln(1 + days overdue), rounded.
    #[must_use]
    pub fn priority(&self) -> i32 {
        let priority = PRIORITY_GROWTH.mul_add(f64::from(self.days).ln_1p(), BASE_PRIORITY);
        #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a 32-bit number is below 23")]
        let rounded = priority.round() as i32;
        rounded
    }

    /// Why, for the user to read. Of the contact it says no more than the name.
    #[must_use]
    pub fn reasoning(&self, now: DateTime<Utc>) -> String {
        let name = &self.contact.name;
        match self.contact.last_contact.map(|last| (now - last).num_days()) {
            None => format!("You and {name} have not been in touch yet."),
            Some(1) => format!("You and {name} were last in touch a day ago."),
            Some(days) => format!("You and {name} were last in touch {days} days ago."),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use strum::IntoEnumIterator;
    use uuid::Uuid;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn contact(number: u128, frequency: Option<&str>, days_ago: Option<i64>) -> Contact {
        Contact {
            id: Uuid::from_u128(number),
            name: "Ada".to_owned(),
            frequency: frequency.map(str::to_owned),
            last_contact: days_ago.map(|days| now() - TimeDelta::days(days)),
            created_at: Some(now() - TimeDelta::days(1_000)),
            is_close: false,
        }
    }

    #[track_caller]
    fn check_days(contact: Contact, expected: Option<u32>) {
        let found = overdue(vec![contact], now());
        assert_eq!(found.first().map(|overdue| overdue.days), expected);
    }

    #[test]
    fn a_contact_is_overdue_from_the_day_on_that_its_frequency_names() {
        let table = [
            ("daily", 1),
            ("weekly", 7),
            ("biweekly", 14),
            ("monthly", 30),
            ("quarterly", 90),
            ("yearly", 365),
            ("flexible", 60),
            ("na", 365),
        ];
        assert_eq!(table.len(), Frequency::iter().count());
        for (frequency, days) in table {
            check_days(contact(1, Some(frequency), Some(days - 1)), None);
            check_days(contact(1, Some(frequency), Some(days)), Some(0));
            check_days(contact(1, Some(frequency), Some(days + 5)), Some(5));
        }
        check_days(contact(1, None, Some(29)), None);
        check_days(contact(1, None, Some(31)), Some(1));
        check_days(contact(1, Some("daily"), Some(-3)), None);
    }

    #[test]
    fn who_was_never_met_is_overdue_since_the_user_has_the_contact() {
        check_days(contact(1, Some("na"), None), Some(1_000));
        check_days(Contact { created_at: Some(now()), ..contact(1, None, None) }, Some(0));
        check_days(
            Contact { created_at: Some(now() + TimeDelta::days(2)), ..contact(1, None, None) },
            Some(0),
        );
        check_days(Contact { created_at: None, ..contact(1, None, None) }, Some(0));
    }

    #[test]
    fn close_friends_come_first_then_who_waits_longest() {
        let close = |contact| Contact { is_close: true, ..contact };
        let contacts = vec![
            contact(1, Some("weekly"), Some(9)),
            contact(2, Some("weekly"), Some(700)),
            close(contact(3, Some("weekly"), Some(8))),
            contact(4, Some("weekly"), Some(3)),
            close(contact(5, Some("monthly"), Some(40))),
            contact(6, Some("daily"), Some(3)),
        ];
        let order: Vec<u128> = overdue(contacts, now()).iter().map(|due| due.contact.id.as_u128()).collect();
        // 6 and 1 are two days overdue each; the user has not seen 1 for longer.
        assert_eq!(order, [5, 3, 2, 1, 6]);
    }

    #[test]
    fn the_priority_grows_with_the_logarithm_of_the_days() {
        for (days, expected) in [(0, 100), (1, 135), (6, 197), (30, 272), (365, 395), (u32::MAX, 1209)] {
            assert_eq!(Overdue { contact: contact(1, None, None), days }.priority(), expected);
        }
    }

    #[test]
    fn the_reason_names_the_contact_and_the_time() {
        let reason = |days| Overdue { contact: contact(1, Some("daily"), days), days: 0 }.reasoning(now());
        assert_eq!(reason(Some(1)), "You and Ada were last in touch a day ago.");
        assert_eq!(reason(Some(45)), "You and Ada were last in touch 45 days ago.");
        assert_eq!(reason(None), "You and Ada have not been in touch yet.");
    }
}
