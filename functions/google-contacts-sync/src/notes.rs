//! Where a person works, and how it gets into the notes that the user keeps on a contact.

/// Longest text that is taken for a mere "Title at Company".
const ORGANIZATION_CHARS: usize = 120;
/// How notes begin that people write by hand and that look like "Title at Company": "Met at Web Summit".
const BEGINS_A_SENTENCE: [&str; 16] = [
    "met", "works", "worked", "working", "lives", "lived", "studied", "studies", "saw", "was", "is", "he",
    "she", "they", "call", "meet",
];

/// "Title at Company", or what there is of it.
pub(crate) fn organization(title: Option<&str>, company: Option<&str>) -> Option<String> {
    let filled = |text: Option<&'_ str>| text.map(one_line).filter(|text| !text.is_empty());
    match (filled(title), filled(company)) {
        (Some(title), Some(company)) => Some(format!("{title} at {company}")),
        (title, company) => title.or(company),
    }
}

/// The note once Google says where the person works: set if empty, replaced if it is just an earlier
/// "Title at Company", else appended once. Only a contact that `was_linked` to a person can have an earlier one; in a note
/// from before, "Lunch at Nobu" is the user's.
pub(crate) fn merge(note: Option<&str>, was_linked: bool, organization: Option<&str>) -> Option<String> {
    let Some(organization) = organization else { return note.map(str::to_owned) };
    match note.filter(|note| !note.trim().is_empty()) {
        None => Some(organization.to_owned()),
        Some(note) if was_linked && is_organization(note) => Some(organization.to_owned()),
        Some(note) if note.lines().any(|line| line.trim() == organization) => Some(note.to_owned()),
        Some(note) => Some(format!("{}\n{organization}", note.trim_end())),
    }
}

/// Whether the user wrote in the note of a person who works at `organization`.
pub(crate) fn is_users(note: Option<&str>, organization: Option<&str>) -> bool {
    note.map(str::trim)
        .is_some_and(|note| !note.is_empty() && Some(note) != organization && !is_organization(note))
}

/// Whether a note is no more than a "Title at Company".
fn is_organization(note: &str) -> bool {
    let note = note.trim();
    let Some((title, company)) = note.split_once(" at ") else { return false };
    let first_word = title.split_whitespace().next().unwrap_or_default().to_lowercase();
    !note.contains('\n')
        && note.chars().count() <= ORGANIZATION_CHARS
        && !note.ends_with(['.', '!', '?'])
        && !company.trim().is_empty()
        && !first_word.is_empty()
        && !BEGINS_A_SENTENCE.contains(&first_word.as_str())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(note: Option<&str>, expected: &str) {
        assert_eq!(merge(note, true, Some("Engineer at Acme")).as_deref(), Some(expected));
    }

    #[test]
    fn an_empty_note_is_set() {
        check(None, "Engineer at Acme");
        check(Some(" \n"), "Engineer at Acme");
    }

    #[test]
    fn an_earlier_organization_is_replaced() {
        check(Some("Intern at Acme"), "Engineer at Acme");
        check(Some("Head of Growth at Globex Corporation "), "Engineer at Acme");
    }

    #[test]
    fn a_note_of_the_users_is_appended_to_once() {
        check(Some("Likes tea"), "Likes tea\nEngineer at Acme");
        check(Some("Likes tea\nEngineer at Acme"), "Likes tea\nEngineer at Acme");
        check(Some("Intern at Acme\nLikes tea"), "Intern at Acme\nLikes tea\nEngineer at Acme");
    }

    #[test]
    fn a_sentence_with_at_in_it_is_the_users() {
        check(Some("Met at Web Summit"), "Met at Web Summit\nEngineer at Acme");
        check(Some("We talked at length."), "We talked at length.\nEngineer at Acme");
    }

    #[test]
    fn without_an_organization_the_note_stays() {
        assert_eq!(merge(Some("Engineer at Acme"), true, None).as_deref(), Some("Engineer at Acme"));
        assert_eq!(merge(None, true, None), None);
    }

    #[test]
    fn an_organization_is_what_there_is_of_title_and_company() {
        assert_eq!(organization(Some("Engineer"), Some("Acme")).as_deref(), Some("Engineer at Acme"));
        assert_eq!(organization(Some(" "), Some("Acme\nInc")).as_deref(), Some("Acme Inc"));
        assert_eq!(organization(Some("Engineer"), None).as_deref(), Some("Engineer"));
        assert_eq!(organization(None, None), None);
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(note in "(?s).{0,80}", title in "[A-Z][a-z ]{0,9}", company in "[A-Z][a-z. ]{0,9}") {
            let organization = organization(Some(&title), Some(&company));
            let once = merge(Some(&note), true, organization.as_deref());
            prop_assert_eq!(merge(once.as_deref(), true, organization.as_deref()), once);
        }

        #[test]
        fn what_the_user_wrote_survives(first in "[a-z]{1,10}", second in "[a-z]{1,10}") {
            let note = format!("{first}\n{second}");
            let merged = merge(Some(&note), true, Some("Engineer at Acme")).unwrap();
            prop_assert!(merged.starts_with(&note));
        }
    }
}
