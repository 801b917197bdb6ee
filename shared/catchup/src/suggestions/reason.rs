//! Why someone is suggested, for the user to read: facts that stay true, and no reproach.

use chrono::{DateTime, Datelike, Utc};
use chrono_tz::Tz;

use super::ranking::Due;
use crate::db::suggestions::Contact;

/// `Anna · monthly · last 12 October`, or a question about someone of whom nothing is known.
pub(super) fn reason(contact: &Contact, due: &Due, zone: Tz, now: DateTime<Utc>) -> String {
    let name = contact.name.as_str();
    if due.is_question {
        return format!("Keep in touch with {name}?");
    }
    let frequency = contact.frequency.map(<&str>::from);
    let last = due.last_met.map_or_else(
        || "no catch-up logged yet".to_owned(),
        |last| {
            let (last, now) = (last.with_timezone(&zone), now.with_timezone(&zone));
            let is_this_year = last.year() == now.year();
            last.format(if is_this_year { "last %-d %B" } else { "last %-d %B %Y" }).to_string()
        },
    );
    [Some(name), frequency, Some(&last)].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::super::tests::{contact, now};
    use super::*;
    use crate::db::suggestions::Frequency;

    #[track_caller]
    fn check(frequency: Option<Frequency>, days_ago: Option<i64>, is_question: bool, expected: &str) {
        let contact = Contact { name: "Anna".to_owned(), frequency, ..contact(1) };
        let last_met = days_ago.map(|days| now() - TimeDelta::days(days));
        let due = Due { last_met, is_question, score: 0.0 };
        assert_eq!(reason(&contact, &due, Tz::UTC, now()), expected);
    }

    #[test]
    fn a_reason_is_a_fact_or_a_question() {
        check(Some(Frequency::Monthly), Some(40), false, "Anna · monthly · last 20 January");
        check(Some(Frequency::Yearly), Some(400), false, "Anna · yearly · last 25 January 2025");
        check(None, Some(40), false, "Anna · last 20 January");
        check(Some(Frequency::Weekly), None, false, "Anna · weekly · no catch-up logged yet");
        check(None, None, true, "Keep in touch with Anna?");
    }
}
