//! What people read.

use chrono::TimeDelta;
use shared::config::Config;
use uuid::Uuid;

use super::*;
use crate::db::token_health::NoticeKind;
use crate::notify::sms::{Alphabet, MAX_SEGMENTS, segments};
use crate::payload::Integration;

const BERLIN: Tz = Tz::Europe__Berlin;

fn application() -> Application {
    let mut config = Config::from_pairs([("APP_BASE_URL", "https://app.catchup.example/")]);
    Application::from_config(&mut config).unwrap()
}

fn suggestion(contacts: &[&str], reasoning: &str) -> Suggestion {
    let start = "2026-11-24T17:30:00Z".parse().unwrap();
    Suggestion {
        id: Uuid::nil(),
        contacts: contacts.iter().map(ToString::to_string).collect(),
        start,
        end: start + TimeDelta::hours(1),
        reasoning: reasoning.to_owned(),
    }
}

fn notice(integration: Integration, kind: NoticeKind) -> TokenNotice {
    TokenNotice { id: Uuid::nil(), integration, kind, ends_at: None }
}

#[track_caller]
fn check_sms<N: Notification>(notification: &N, expected: &str) {
    let sms = N::sms(&[notification], BERLIN, &application());
    assert_eq!(sms.text(), expected);
    assert!(segments(expected) <= MAX_SEGMENTS);
}

#[test]
fn a_suggestion_is_one_text_message() {
    check_sms(
        &suggestion(&["Ana"], "You last met 40 days ago."),
        "CatchUp: time for Ana? Tue 24 Nov, 18:30-19:30 CET. You last met 40 days ago. https://app.catchup.example/app",
    );
    check_sms(
        &suggestion(&["Ana", "Ben"], ""),
        "CatchUp: time for Ana and Ben? Tue 24 Nov, 18:30-19:30 CET. https://app.catchup.example/app",
    );
}

#[test]
fn several_suggestions_are_one_text_message() {
    let three = ["Ana", "Ben", "Cem"].map(|name| suggestion(&[name], "It is time."));
    let sms = Suggestion::sms(&three.each_ref(), BERLIN, &application());
    assert_eq!(
        sms.text(),
        "CatchUp: 3 ideas: Ana Tue 24 Nov, 18:30-19:30 CET; Ben Tue 24 Nov, 18:30-19:30 CET; \
         Cem Tue 24 Nov, 18:30-19:30 CET https://app.catchup.example/app"
    );
    let long = [(); 3].map(|()| suggestion(&[&"Ана ".repeat(60)], ""));
    let sms = Suggestion::sms(&long.each_ref(), BERLIN, &application());
    assert!(segments(sms.text()) <= MAX_SEGMENTS && sms.text().ends_with("/app"), "{sms:?}");
}

#[test]
fn typographic_signs_do_not_halve_a_text_message() {
    let sms = Suggestion::sms(&[&suggestion(&["Zoë O’Hara"], "“Soon” – she said…")], BERLIN, &application());
    assert_eq!(
        sms.text(),
        "CatchUp: time for Zoë O'Hara? Tue 24 Nov, 18:30-19:30 CET. \"Soon\" - she said... https://app.catchup.example/app"
    );
    assert_eq!(Alphabet::of(&sms.text().replace('ë', "e")), Alphabet::Gsm7);
}

#[test]
fn whatever_people_are_called_a_text_message_keeps_its_link_and_two_segments() {
    for name in ["Ана ".repeat(60), "🙂".repeat(255), "a".repeat(255), "€[]".repeat(80)] {
        let sms = Suggestion::sms(&[&suggestion(&[&name], &"reason ".repeat(300))], BERLIN, &application());
        assert!(segments(sms.text()) <= MAX_SEGMENTS, "{sms:?}");
        assert!(sms.text().ends_with(" https://app.catchup.example/app"), "{sms:?}");
        assert!(sms.text().contains("Tue 24 Nov, 18:30-19:30 CET"), "{sms:?}");
    }
}

#[test]
fn a_notice_says_what_to_do_and_where() {
    check_sms(
        &notice(Integration::GoogleCalendar, NoticeKind::TokenInvalid),
        "CatchUp can no longer read your Google Calendar. Connect again: \
         https://app.catchup.example/app?view=preferences",
    );
    check_sms(
        &notice(Integration::GoogleContacts, NoticeKind::TokenExpiringSoon),
        "CatchUp's access to your Google Contacts ends soon. Connect again: \
         https://app.catchup.example/app?view=preferences",
    );
}

#[test]
fn a_digest_names_each_suggestion_in_text_and_in_html() {
    let suggestions = [
        suggestion(&["Ana <script>\r\nBcc: x@y.z"], "Tom & \"Jerry\"\nare 'friends'"),
        suggestion(&["Ben", "Cy", "Di", "Ed"], "It is time."),
    ];
    let email = Suggestion::email(&suggestions.each_ref(), BERLIN, &application());
    assert_eq!(email.subject, "2 ideas for catching up");
    assert_eq!(
        email.text,
        "Your calendar has room for:\n\n\
         Ana <script> Bcc: x@y.z\n\nTue 24 Nov, 18:30-19:30 CET\n\nTom & \"Jerry\" are 'friends'\n\n\
         Ben, Cy and 2 others\n\nTue 24 Nov, 18:30-19:30 CET\n\nIt is time.\n\n\
         Accept, snooze or dismiss in CatchUp: https://app.catchup.example/app\n"
    );
    let body = email.html.split_once("<body").unwrap().1.split_once(">\n").unwrap().1;
    assert_eq!(
        body,
        "<p>Your calendar has room for:</p>\n\
         <h2 style=\"font-size:18px\">Ana &lt;script&gt; Bcc: x@y.z</h2>\n\
         <p>Tue 24 Nov, 18:30-19:30 CET</p>\n\
         <p>Tom &amp; &quot;Jerry&quot; are &#39;friends&#39;</p>\n\
         <h2 style=\"font-size:18px\">Ben, Cy and 2 others</h2>\n\
         <p>Tue 24 Nov, 18:30-19:30 CET</p>\n\
         <p>It is time.</p>\n\
         <p><a href=\"https://app.catchup.example/app\">Accept, snooze or dismiss in CatchUp</a></p>\n\
         </body>\n</html>\n"
    );
}

#[test]
fn a_digest_of_one_names_it_in_its_subject_on_one_line() {
    let one = suggestion(&["Ana\r\nBcc: x@y.z"], "");
    let email = Suggestion::email(&[&one], BERLIN, &application());
    assert_eq!(email.subject, "Time to catch up with Ana Bcc: x@y.z");
    assert!(email.html.contains("<title>Time to catch up with Ana Bcc: x@y.z</title>"), "{}", email.html);
}

#[test]
fn notices_about_both_integrations_are_one_e_mail() {
    let calendar = notice(Integration::GoogleCalendar, NoticeKind::TokenInvalid);
    let contacts = notice(Integration::GoogleContacts, NoticeKind::TokenExpiringSoon);
    let one = TokenNotice::email(&[&calendar], BERLIN, &application());
    assert_eq!(one.subject, "Connect your Google Calendar to CatchUp again");
    let both = TokenNotice::email(&[&calendar, &contacts], BERLIN, &application());
    assert_eq!(both.subject, "Connect CatchUp to Google again");
    assert_eq!(
        both.text,
        "CatchUp can no longer read your Google Calendar. Connect it again to keep it up to date.\n\n\
         Connect again: https://app.catchup.example/app?view=preferences\n\n\
         CatchUp's access to your Google Contacts ends soon. Connect it again to keep it up to date.\n\n\
         Connect again: https://app.catchup.example/app?view=preferences\n\n\
         CatchUp only reads, and you can take the permission back at any time.\n"
    );
}

#[test]
fn a_brief_text_ends_at_a_word() {
    for (text, brief_text) in [
        ("short", "short"),
        ("exactly ten", "exactly…"),
        ("ten chars.", "ten chars."),
        ("ten chars. and more", "ten chars.…"),
        ("abcdefghijklm", "abcdefghij…"),
        (" a\t\nb\u{0} c ", "a b c"),
    ] {
        assert_eq!(brief(text, 10), brief_text);
    }
}
