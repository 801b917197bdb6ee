//! How often a user wants to be in touch.

use chrono::TimeDelta;

use crate::db::suggestions::Frequency;

impl Frequency {
    /// After how long a contact is due; `None` is never.
    #[must_use]
    pub fn interval(self) -> Option<TimeDelta> {
        let days = match self {
            Self::Daily => 1,
            Self::Weekly => 7,
            Self::Biweekly => 14,
            Self::Monthly => 30,
            Self::Quarterly => 90,
            Self::Yearly => 365,
            Self::Flexible => 60,
            Self::Na => return None,
        };
        Some(TimeDelta::days(days))
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn each_option_of_the_database_is_an_interval() {
        let table = [
            ("daily", Some(1)),
            ("weekly", Some(7)),
            ("biweekly", Some(14)),
            ("monthly", Some(30)),
            ("quarterly", Some(90)),
            ("yearly", Some(365)),
            ("flexible", Some(60)),
            ("na", None),
        ];
        assert_eq!(table.len(), Frequency::iter().count());
        for (name, days) in table {
            let frequency: Frequency = name.parse().unwrap();
            assert_eq!(frequency.interval(), days.map(TimeDelta::days), "{name}");
        }
    }
}
