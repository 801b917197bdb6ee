//! Whom the user met, and will meet next, as the calendars show it.
//!
//! A meeting is an event in which the user and at least one other person take part, eight people at most. Who declined does
//! not take part; who has not answered does. In the user's primary calendar the user takes part unless they declined; in
//! another one, only if one of the user's addresses is among the attendees: it may be a colleague's.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// More people than these do not meet one another.
const MAX_PEOPLE: usize = 8;
/// Google's rooms and other resources are attendees with addresses of this domain.
const RESOURCES: &str = "@resource.calendar.google.com";
/// Attendees of an event that may be a meeting: its people, and some rooms.
pub(crate) const MAX_ATTENDEES: u16 = 20;

/// An attendee, as the application keeps it, in Google's words.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attendee {
    email: String,
    #[serde(default)]
    response_status: Option<String>,
    #[serde(default, rename = "self")]
    is_self: bool,
}

impl Attendee {
    fn has_declined(&self) -> bool {
        self.response_status.as_deref() == Some("declined")
    }
}

/// When each address was met last, or is met next.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Dates(HashMap<String, DateTime<Utc>>);

impl Dates {
    /// These addresses are met at that time; the later one of an address is kept.
    pub(crate) fn keep_last(&mut self, addresses: Vec<String>, at: DateTime<Utc>) {
        for address in addresses {
            self.0.entry(address).and_modify(|last| *last = at.max(*last)).or_insert(at);
        }
    }

    /// These addresses are met at that time; the earlier one of an address is kept.
    pub(crate) fn keep_first(&mut self, addresses: Vec<String>, at: DateTime<Utc>) {
        for address in addresses {
            self.0.entry(address).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
    }

    /// The addresses and, in the same order, their dates.
    pub(crate) fn into_columns(self) -> (Vec<String>, Vec<DateTime<Utc>>) {
        self.0.into_iter().unzip()
    }
}

/// The addresses, in lower case, of those whom the user meets at an event with these `attendees`.
///
/// `own`: the user's addresses, in lower case.
pub(crate) fn people_met(attendees: &Value, is_in_primary: bool, own: &[String]) -> Vec<String> {
    let attendees = attendees.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut others = Vec::new();
    let mut user = None;
    for attendee in attendees {
        let Ok(mut attendee) = Attendee::deserialize(attendee) else { continue };
        attendee.email = attendee.email.to_lowercase();
        if attendee.email.ends_with(RESOURCES) {
            continue;
        }
        if (attendee.is_self && is_in_primary) || own.contains(&attendee.email) {
            // Invited by two addresses, the user takes part unless both declined.
            user = Some(user.unwrap_or(false) || !attendee.has_declined());
        } else {
            others.push(attendee);
        }
    }
    let takes_part = user.unwrap_or(is_in_primary);
    if !takes_part || others.len() >= MAX_PEOPLE {
        return Vec::new();
    }
    others.into_iter().filter(|other| !other.has_declined()).map(|other| other.email).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(attendees: &Value, is_in_primary: bool, expected: &[&str]) {
        let own = ["me@example.org".to_owned(), "second@example.org".to_owned()];
        assert_eq!(people_met(attendees, is_in_primary, &own), expected, "{attendees}");
    }

    fn attendee(email: &str, response: &str) -> Value {
        json!({ "email": email, "responseStatus": response })
    }

    #[test]
    fn who_declined_does_not_take_part() {
        let me = json!({ "email": "me@example.org", "responseStatus": "accepted", "self": true });
        let guests = json!([
            me,
            attendee("A@example.org", "accepted"),
            attendee("b@example.org", "declined"),
            attendee("c@example.org", "needsAction"),
            attendee("d@example.org", "tentative")
        ]);
        check(&guests, true, &["a@example.org", "c@example.org", "d@example.org"]);
        let declined = json!({ "email": "me@example.org", "responseStatus": "declined", "self": true });
        check(&json!([declined, attendee("a@example.org", "accepted")]), true, &[]);
    }

    #[test]
    fn a_second_address_of_the_users_is_the_user() {
        let guest = attendee("a@example.org", "accepted");
        check(&json!([attendee("Second@example.org", "accepted"), guest]), false, &["a@example.org"]);
        check(&json!([attendee("second@example.org", "declined"), guest]), true, &[]);
        let both = [attendee("second@example.org", "accepted"), attendee("me@example.org", "declined")];
        check(&json!([both[0], both[1], guest]), true, &["a@example.org"]);
    }

    #[test]
    fn in_a_calendar_of_others_only_their_people_meet() {
        let theirs = json!([{ "email": "x@example.org", "responseStatus": "accepted", "self": true },
            attendee("a@example.org", "accepted")]);
        check(&theirs, false, &[]);
        check(&json!([attendee("a@example.org", "accepted")]), true, &["a@example.org"]);
    }

    #[test]
    fn eight_people_meet_and_nine_do_not_and_rooms_are_no_people() {
        let with = |others: usize| {
            let mut all = vec![
                attendee("me@example.org", "accepted"),
                attendee("room@resource.calendar.google.com", "accepted"),
            ];
            all.extend((0..others).map(|n| attendee(&format!("{n}@example.org"), "accepted")));
            people_met(&all.into(), true, &["me@example.org".to_owned()]).len()
        };
        assert_eq!((with(1), with(7), with(8), with(300)), (1, 7, 0, 0));
    }

    #[test]
    fn what_is_malformed_is_no_meeting() {
        check(&json!(null), true, &[]);
        check(&json!([{ "displayName": "no address" }, 7]), true, &[]);
    }
}
