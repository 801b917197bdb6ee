//! What people read.

use chrono::TimeDelta;
use chrono_tz::Tz;
use uuid::Uuid;

use super::*;
use crate::db::token_health::NoticeKind;
use crate::notify::sms::{Alphabet, MAX_SEGMENTS, segments};
use crate::notify::zone::ReaderClock;
use crate::payload::Integration;

mod facts;

const NEW_YORK: Tz = Tz::America__New_York;
const APP: &str = "https://app.catchup.example/app";

fn frame() -> Frame {
    Frame {
        name: Some("Sam Rivera".to_owned()),
        clock: ReaderClock::new(NEW_YORK, None),
        now: "2026-11-22T14:00:00Z".parse().unwrap(),
        suggestions_url: APP.to_owned(),
        preferences_url: format!("{APP}?view=preferences"),
        unsubscribe_url: None,
        postal_address: None,
        is_first_text: false,
        takes_replies: true,
    }
}

fn suggestion(contacts: &[&str], reasoning: &str) -> Suggestion {
    let start = "2026-11-24T23:00:00Z".parse().unwrap();
    Suggestion {
        id: Uuid::nil(),
        contacts: contacts.iter().map(ToString::to_string).collect(),
        start,
        end: start + TimeDelta::hours(1),
        reasoning: reasoning.to_owned(),
        acts: None,
    }
}

fn later(mut suggestion: Suggestion, days: i64) -> Suggestion {
    suggestion.start += TimeDelta::days(days);
    suggestion.end += TimeDelta::days(days);
    suggestion
}

fn notice(integration: Integration, kind: NoticeKind) -> TokenNotice {
    TokenNotice { id: Uuid::nil(), integration, kind, at: None }
}

fn sms<N: Notification>(notifications: &[N], frame: &Frame) -> String {
    let notifications: Vec<_> = notifications.iter().collect();
    let text = N::sms(&notifications, frame).text().to_owned();
    assert!(segments(&text) <= MAX_SEGMENTS, "{text}");
    text
}

fn email<N: Notification>(notifications: &[N], frame: &Frame) -> Email {
    let notifications: Vec<_> = notifications.iter().collect();
    N::email(&notifications, frame)
}

#[test]
fn one_suggestion_is_a_text_message_with_its_reason() {
    assert_eq!(
        sms(&[suggestion(&["Ana"], "Ana · monthly · last 12 October")], &frame()),
        format!("CatchUp: time for Ana? Tue 6 PM (monthly, last 12 October). {APP}")
    );
    assert_eq!(
        sms(&[suggestion(&["Ana", "Ben"], "")], &frame()),
        format!("CatchUp: time for Ana and Ben? Tue 6 PM. {APP}")
    );
}

#[test]
fn a_digest_is_one_text_message_in_the_order_of_time() {
    let suggestions = [
        later(suggestion(&["Cy"], "why"), 8),
        suggestion(&["Ana"], "why"),
        later(suggestion(&["Ben"], "why"), 1),
    ];
    assert_eq!(
        sms(&suggestions, &frame()),
        format!("CatchUp: 3 ideas: Ana Tue 6 PM, Ben Wed 6 PM, Cy Wed Dec 2 6 PM. {APP}")
    );
}

#[test]
fn the_first_text_message_says_how_to_stop_them() {
    let first = Frame { is_first_text: true, ..frame() };
    let expected = format!("CatchUp: time for Ana? Tue 6 PM. {APP} Reply STOP to stop.");
    assert_eq!(sms(&[suggestion(&["Ana"], "")], &first), expected);
    let from_name = Frame { takes_replies: false, ..first };
    let expected = format!("CatchUp: time for Ana? Tue 6 PM. {APP} To stop: {APP}?view=preferences");
    assert_eq!(sms(&[suggestion(&["Ana"], "")], &from_name), expected);
}

#[test]
fn typographic_signs_do_not_halve_a_text_message() {
    let text = sms(&[suggestion(&["Zoë O’Hara"], "“Soon” – she said…")], &frame());
    assert_eq!(text, format!("CatchUp: time for Zoë O'Hara? Tue 6 PM (\"Soon\" - she said...). {APP}"));
    assert_eq!(Alphabet::of(&text.replace('ë', "e")), Alphabet::Gsm7);
}

#[test]
fn whatever_people_are_called_a_text_message_keeps_its_times_its_link_and_two_segments() {
    for name in ["Ана ".repeat(60), "🙂".repeat(255), "a".repeat(255), "€[]".repeat(80)] {
        for (count, is_first_text) in [(1, false), (1, true), (3, false), (3, true)] {
            let suggestions = vec![suggestion(&[&name], &"reason ".repeat(300)); count];
            let text = sms(&suggestions, &Frame { is_first_text, ..frame() });
            let tail = if is_first_text { " Reply STOP to stop." } else { "" };
            assert!(text.ends_with(&format!(" {APP}{tail}")), "{text}");
            assert_eq!(text.matches("Tue 6 PM").count(), count, "{text}");
        }
    }
}

#[test]
fn a_notice_says_since_when_or_until_when_and_where_to_connect_again() {
    let preferences = format!("{APP}?view=preferences");
    let at = Some("2026-11-24T23:00:00Z".parse().unwrap());
    for (integration, kind, at, expected) in [
        (
            Integration::GoogleCalendar,
            NoticeKind::TokenInvalid,
            at,
            "CatchUp has not been able to read your Google Calendar since Tue, Nov 24.",
        ),
        (
            Integration::GoogleContacts,
            NoticeKind::TokenExpiringSoon,
            at,
            "CatchUp can read your Google Contacts until Tue, Nov 24, 6 PM.",
        ),
        (
            Integration::GoogleCalendar,
            NoticeKind::TokenInvalid,
            None,
            "CatchUp can no longer read your Google Calendar.",
        ),
        (
            Integration::GoogleContacts,
            NoticeKind::TokenExpiringSoon,
            None,
            "CatchUp's access to your Google Contacts ends soon.",
        ),
    ] {
        let notices = [TokenNotice { at, ..notice(integration, kind) }];
        assert_eq!(sms(&notices, &frame()), format!("{expected} Connect it again: {preferences}"));
        let email = email(&notices, &frame());
        assert!(email.text.contains(&format!("{expected} ")), "{}", email.text);
        assert!(email.text.contains(&format!("\nConnect again: {preferences}\n")), "{}", email.text);
    }
}

#[test]
fn notices_about_both_integrations_are_one_message() {
    let calendar = notice(Integration::GoogleCalendar, NoticeKind::TokenInvalid);
    let contacts = notice(Integration::GoogleContacts, NoticeKind::TokenInvalid);
    assert_eq!(email(&[calendar], &frame()).subject, "Connect your Google Calendar to CatchUp again");
    let both = email(&[calendar, contacts], &frame());
    assert_eq!(both.subject, "Connect CatchUp to Google again");
    assert_eq!(both.html.matches(">Connect again</a>").count(), 1);
    assert_eq!(
        sms(&[calendar, contacts], &frame()),
        format!(
            "CatchUp can no longer read your Google Calendar. CatchUp can no longer read your Google Contacts. \
             Connect them again: {APP}?view=preferences"
        )
    );
}

#[test]
fn a_digest_says_who_when_and_why_and_how_to_end_it() {
    let acts = Acts {
        met_url: "https://hooks.example/met/1".to_owned(),
        not_now_url: "https://hooks.example/not-now/1".to_owned(),
        never_url: "https://hooks.example/never/1".to_owned(),
    };
    let suggestions = [
        Suggestion {
            acts: Some(acts),
            ..suggestion(&["Ana <script>\r\nBcc: x@y.z"], "Tom & \"Jerry\"\nare 'friends'")
        },
        later(suggestion(&["Ben", "Cy", "Di", "Ed"], ""), 1),
    ];
    let frame = Frame {
        unsubscribe_url: Some("https://hooks.example/unsubscribe/1".to_owned()),
        postal_address: Some("CatchUp, 1 Main Street".to_owned()),
        ..frame()
    };
    let email = email(&suggestions, &frame);
    assert_eq!(email.subject, "Time to catch up with Ana <script> Bcc: x@y.z or Ben, Cy and 2 others?");
    assert_eq!(
        email.text,
        "CatchUp\n\nHi Sam,\n\n\
         Here are 2 ideas for catching up:\n\n\
         Ana <script> Bcc: x@y.z\nTue, Nov 24 · 6–7 PM\nTom & \"Jerry\" are 'friends'\n\
         Open in CatchUp: https://app.catchup.example/app\n\
         We met: https://hooks.example/met/1\n\
         Not now: https://hooks.example/not-now/1\n\
         Never: https://hooks.example/never/1\n\n\
         Ben, Cy and 2 others\nWed, Nov 25 · 6–7 PM\n\
         Open in CatchUp: https://app.catchup.example/app\n\n\
         ---\n\n\
         This e-mail came because you use CatchUp. Its settings say when your ideas come, and how.\n\n\
         Settings: https://app.catchup.example/app?view=preferences\n\
         Unsubscribe from ideas: https://hooks.example/unsubscribe/1\n\n\
         CatchUp, 1 Main Street\n"
    );
    assert!(!email.html.contains("<script>"), "{}", email.html);
    assert!(email.html.contains("Ana &#60;script&#62; Bcc: x@y.z</h2>"), "{}", email.html);
}

#[test]
fn a_reason_does_not_repeat_the_name_above_it() {
    for (reasoning, expected) in [
        ("Ana · monthly · last 12 October", "Monthly · last 12 October"),
        ("Anabel · monthly", "Anabel · monthly"),
        ("Keep in touch with Ana?", "Keep in touch with Ana?"),
        ("no catch-up logged yet", "No catch-up logged yet"),
    ] {
        let email = email(&[suggestion(&["Ana"], reasoning)], &frame());
        assert!(email.text.contains(&format!("7 PM\n{expected}\nOpen")), "{}", email.text);
    }
}

#[test]
fn a_name_is_never_cut_in_an_e_mail() {
    let name = "Alexandra Konstantinopoulou-Featherstonehaugh ".repeat(5);
    let name = name.trim();
    let email = email(&[suggestion(&[name], "")], &frame());
    assert_eq!(email.subject, "An idea for catching up");
    assert!(email.text.contains(&format!("\n{name}\n")), "{}", email.text);
    assert!(email.html.contains(&format!(">{name}</h2>")), "{}", email.html);
}

#[test]
fn a_reader_is_greeted_by_the_first_name() {
    for (name, greeting) in [
        (Some("Sam"), "Hi Sam,"),
        (Some(" Sam\r\nRivera "), "Hi Sam,"),
        (Some("Dr. Sam Rivera"), "Hi Dr. Sam Rivera,"),
        (Some(" "), "Hi,"),
        (None, "Hi,"),
    ] {
        assert_eq!(Frame { name: name.map(str::to_owned), ..frame() }.greeting(), greeting);
    }
}

#[test]
fn the_question_is_one_and_asks_for_nothing_when_the_answer_is_no() {
    let question = StillUseful { last_suggestion_id: Uuid::nil(), yes_url: format!("{APP}/yes") };
    assert_eq!(
        sms(std::slice::from_ref(&question), &frame()),
        format!(
            "CatchUp: are ideas for whom to meet still useful to you? Without an answer, no more come. \
             For more of them: {APP}/yes"
        )
    );
    let email = email(&[question], &frame());
    assert_eq!(
        email.text.matches('?').count(),
        2,
        "a question, and the link to the settings: {}",
        email.text
    );
    assert!(email.text.contains(&format!("Yes, more ideas: {APP}/yes\n")), "{}", email.text);
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
