//! A person of a seeded address book, or one who comes later.

use crate::dice::Dice;
use crate::person::{Address, Labelled, Organization, Person, PersonName};
use crate::words::{CITIES, COMPANIES, FAMILY, GIVEN, TITLES};

/// Longer than any column of the application that an address is copied to.
const LONG_ADDRESS_REPEATS: usize = 12;

/// A person as chance makes them, without what the book gives: resource name, etag, memberships.
pub(crate) fn invent(dice: &mut Dice, number: u64) -> Person {
    let (given, family) = (dice.pick(GIVEN), dice.pick(FAMILY));
    let tag = dice.below(1_000_000);
    let plain: String = given.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
    let mut person = Person::default();
    if !dice.chance(3) {
        let family = if dice.chance(5) { "" } else { family };
        person.name = Some(PersonName { given: given.to_owned(), family: family.to_owned() });
    }
    for at in 0..[0, 1, 1, 1, 2, 3][dice.index(6)] {
        let host = ["mail.example.test", "Work.Example.Test", "home.example.test"][at];
        person.emails.push(labelled(format!("{plain}.{tag}@{host}"), ["home", "work", "other"][at]));
    }
    for at in 0..[0, 1, 1, 2][dice.index(4)] {
        let (area, line) = (dice.between(200, 989), dice.between(1_000, 9_999));
        let value = match dice.below(4) {
            0 => format!("+1 ({area}) 555-{line}"),
            1 => format!("+1{area}555{line}"),
            2 => format!("{area}.555.{line}"),
            _ => format!("0{area} 555 {line}"),
        };
        person.phones.push(labelled(value, ["mobile", "work"][at]));
    }
    // Not always the first: a reader has to look for the mark.
    mark_primary(&mut person.emails, dice);
    mark_primary(&mut person.phones, dice);
    if dice.chance(40) {
        let name = (!dice.chance(15)).then(|| dice.pick(COMPANIES).to_owned());
        let title = (name.is_none() || dice.chance(70)).then(|| dice.pick(TITLES).to_owned());
        person.organizations.push(Organization { name, title });
    }
    if dice.chance(20) {
        person.urls.push(labelled(format!("https://{plain}-{tag}.example.test/"), "homePage"));
    }
    if dice.chance(25) {
        let host = ["www.linkedin.com", "linkedin.com", "de.linkedin.com"][dice.index(3)];
        person.urls.push(labelled(format!("https://{host}/in/{plain}-{tag}"), "profile"));
    }
    if dice.chance(30) {
        let (city, country) = dice.pick(CITIES);
        let street = format!("{} Main Street", number % 400 + 1);
        let street = if dice.chance(1) { format!("{street}, ").repeat(LONG_ADDRESS_REPEATS) } else { street };
        person.addresses.push(Address {
            formatted: format!("{street}\n{city}\n{country}"),
            city: city.to_owned(),
            country: country.to_owned(),
            label: "home".to_owned(),
        });
    }
    person
}

fn labelled(value: String, label: &str) -> Labelled {
    Labelled { value, label: label.to_owned(), primary: false }
}

fn mark_primary(values: &mut [Labelled], dice: &mut Dice) {
    let at = if dice.chance(80) { 0 } else { dice.index(values.len()) };
    if let Some(value) = values.get_mut(at) {
        value.primary = true;
    }
}
