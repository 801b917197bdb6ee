//! What an integration needs of the scopes that a user granted, box by box.
//! <https://developers.google.com/identity/protocols/oauth2/resources/granular-permissions>

use crate::payload::Integration;

/// Of each group one is enough; all groups are needed. The application asks for the first of each.
/// <https://developers.google.com/workspace/calendar/api/auth>
const CALENDAR: &[&[&str]] = &[
    // calendarList.list
    &["calendar.readonly", "calendar", "calendar.calendarlist.readonly", "calendar.calendarlist"],
    // events.list, events.watch
    &["calendar.readonly", "calendar", "calendar.events.readonly", "calendar.events"],
];
/// <https://developers.google.com/people/api/rest/v1/people.connections/list>
const CONTACTS: &[&[&str]] = &[&["contacts.readonly", "contacts"]];

/// What the names of Google's scopes begin with.
const PREFIX: &str = "https://www.googleapis.com/auth/";

/// Whether the scopes of a token answer, separated by spaces, are enough. None at all are those that were granted before
/// (RFC 6749, section 5.1).
pub(super) fn is_sufficient(integration: Integration, granted: Option<&str>) -> bool {
    let Some(granted) = granted else { return true };
    let has = |scope: &&str| granted.split(' ').any(|name| name.strip_prefix(PREFIX) == Some(*scope));
    let needed = match integration {
        Integration::GoogleCalendar => CALENDAR,
        Integration::GoogleContacts => CONTACTS,
    };
    needed.iter().all(|group| group.iter().any(has))
}

/// How Google's consent screen words the box.
pub(super) fn consent_box(integration: Integration) -> &'static str {
    match integration {
        Integration::GoogleCalendar => {
            "See and download any calendar you can access using your Google Calendar"
        }
        Integration::GoogleContacts => "See and download your contacts",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(integration: Integration, granted: &[&str], expected: bool) {
        let granted: Vec<String> = granted.iter().map(|name| format!("{PREFIX}{name}")).collect();
        let granted = format!("openid {}", granted.join(" "));
        assert_eq!(is_sufficient(integration, Some(&granted)), expected, "{granted}");
    }

    #[test]
    fn every_call_of_an_integration_needs_a_scope() {
        check(Integration::GoogleCalendar, &["calendar.readonly"], true);
        check(Integration::GoogleCalendar, &["calendar"], true);
        check(Integration::GoogleCalendar, &["calendar.events.readonly"], false);
        check(Integration::GoogleCalendar, &["calendar.events", "calendar.calendarlist.readonly"], true);
        check(Integration::GoogleCalendar, &["contacts.readonly"], false);
        check(Integration::GoogleContacts, &["contacts.readonly", "calendar.readonly"], true);
        check(Integration::GoogleContacts, &["contacts.other.readonly"], false);
        check(Integration::GoogleContacts, &[], false);
        assert!(is_sufficient(Integration::GoogleContacts, None));
    }
}
