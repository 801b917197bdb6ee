//! Which contacts are people whom one can meet, and which are one person twice.

use std::collections::HashSet;

use crate::db::suggestions::Contact;

/// Parts of e-mail addresses before the `@` behind which no friend reads.
const IMPERSONAL_ADDRESSES: [&str; 22] = [
    "abuse",
    "admin",
    "billing",
    "bookings",
    "careers",
    "contact",
    "customercare",
    "customerservice",
    "donotreply",
    "feedback",
    "hello",
    "help",
    "info",
    "mailer-daemon",
    "newsletter",
    "no-reply",
    "noreply",
    "office",
    "postmaster",
    "sales",
    "service",
    "support",
];
/// Words of names that organisations have and people have not.
const IMPERSONAL_WORDS: [&str; 34] = [
    "ag",
    "airlines",
    "airways",
    "assistance",
    "bank",
    "clinic",
    "co.",
    "company",
    "corp",
    "corp.",
    "customer",
    "dentist",
    "e.v.",
    "emergency",
    "gmbh",
    "helpdesk",
    "helpline",
    "hospital",
    "hotel",
    "hotline",
    "inc",
    "inc.",
    "insurance",
    "kg",
    "llc",
    "ltd",
    "ltd.",
    "pharmacy",
    "reception",
    "restaurant",
    "roadside",
    "service",
    "services",
    "support",
];

/// Whether this is someone to meet: not the user, and not an organisation, unless the user says how often to meet it.
pub(super) fn is_person(contact: &Contact, own_addresses: &HashSet<String>) -> bool {
    let email = email(contact);
    if email.as_ref().is_some_and(|email| own_addresses.contains(email)) {
        return false;
    }
    let mailbox = email.as_deref().and_then(|email| Some(email.split_once('@')?.0)).unwrap_or_default();
    if is_unread(mailbox) {
        return false;
    }
    contact.has_word_of_user() || !(is_impersonal(mailbox) || is_organisation(&contact.name))
}

fn is_unread(mailbox: &str) -> bool {
    let letters: String = mailbox.chars().filter(|c| c.is_alphanumeric()).collect();
    ["noreply", "donotreply", "mailerdaemon"].iter().any(|unread| letters.contains(unread))
}

fn is_impersonal(mailbox: &str) -> bool {
    IMPERSONAL_ADDRESSES.contains(&mailbox)
}

fn is_organisation(name: &str) -> bool {
    let name = name.to_lowercase();
    name.split_whitespace().any(|word| IMPERSONAL_WORDS.contains(&word.trim_matches(',')))
}

fn email(contact: &Contact) -> Option<String> {
    contact.email.as_deref().map(|email| email.trim().to_lowercase()).filter(|email| !email.is_empty())
}

/// What two contacts of one person have in common: an address, a first name with a number, or a whole name.
pub(super) fn identities(contact: &Contact) -> impl Iterator<Item = String> {
    let words: Vec<_> = contact.name.split_whitespace().map(str::to_lowercase).collect();
    let digits = contact.phone.as_deref().map(|phone| phone.chars().filter(char::is_ascii_digit).collect());
    let digits = digits.filter(|digits: &String| digits.len() >= 7);
    // Families share a number.
    let number = digits.and_then(|digits| Some(format!("{digits} {}", words.first()?)));
    let name = (words.len() > 1).then(|| words.join(" "));
    [email(contact), number, name].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::contact;
    use super::*;

    #[track_caller]
    fn check(name: &str, email: Option<&str>, expected: bool) {
        let own = HashSet::from(["me@example.test".to_owned()]);
        let contact = Contact { name: name.to_owned(), email: email.map(str::to_owned), ..contact(1) };
        assert_eq!(is_person(&contact, &own), expected, "{name} {email:?}");
    }

    #[test]
    fn the_user_and_organisations_are_no_one_to_meet() {
        check("Ana", Some("ana@example.test"), true);
        check("Ana", None, true);
        check("Me", Some("Me@Example.test"), false);
        check("Shop", Some("No-Reply.orders@shop.example"), false);
        check("Shop", Some("info@shop.example"), false);
        check("AAA Roadside Assistance", None, false);
        check("Acme, Inc.", None, false);
        check("Serviceman Bob", None, true);
    }

    #[test]
    fn an_organisation_that_the_user_wants_to_meet_is_someone_to_meet() {
        let contact = Contact { name: "Chess Company".to_owned(), is_in_group: true, ..contact(1) };
        assert!(is_person(&contact, &HashSet::new()));
        let robot = Contact { email: Some("noreply@shop.example".to_owned()), ..contact };
        assert!(!is_person(&robot, &HashSet::new()));
    }

    #[test]
    fn one_person_is_known_by_address_number_or_whole_name() {
        let contact = Contact {
            name: "Ana  Lima".to_owned(),
            email: Some(" Ana@Example.test".to_owned()),
            phone: Some("+49 (151) 234".to_owned()),
            ..contact(1)
        };
        assert_eq!(
            identities(&contact).collect::<Vec<_>>(),
            ["ana@example.test", "49151234 ana", "ana lima"]
        );
        let other = Contact {
            name: "Ana".to_owned(),
            phone: Some("110".to_owned()),
            ..super::super::tests::contact(2)
        };
        assert_eq!(identities(&other).count(), 0);
    }
}
