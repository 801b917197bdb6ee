//! A reader without HTML is told the same as a reader with it.

use mail_parser::decoders::html::html_to_text;

use super::*;

/// The words of an HTML part that a reader sees, each link as `label: address`.
fn words_of_html(html: &str) -> Vec<String> {
    let body = html.split_once("<body").unwrap().1.split_once('>').unwrap().1;
    let (preheader, body) = body.split_once("</div>").unwrap();
    assert!(preheader.contains("display:none"), "{preheader}");
    let link = |link: &str| {
        let (tag, rest) = link.split_once('>').unwrap();
        let (label, rest) = rest.split_once("</a>").unwrap();
        let url = tag.split_once("href=\"").unwrap().1.split_once('"').unwrap().0;
        format!("{label}: {url} {rest}")
    };
    let (before, links) = body.split_once("<a ").unwrap();
    let shown = before.to_owned() + &links.split("<a ").map(link).collect::<String>();
    words(&html_to_text(&shown.replace("</", " </")))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().filter(|word| *word != "---").map(str::to_owned).collect()
}

#[track_caller]
fn check<N: Notification>(notifications: &[N], frame: &Frame) {
    let email = email(notifications, frame);
    assert_eq!(words_of_html(&email.html), words(&email.text));
    assert!(email.html.len() < MAX_HTML_BYTES, "{} bytes", email.html.len());
}

/// Gmail shows no more of an e-mail without a click at 102 KB; this leaves room for what providers add.
const MAX_HTML_BYTES: usize = 60_000;

fn acts() -> Acts {
    let url = |act: &str| format!("https://hooks.example/{act}?token=a&b=<c>");
    Acts { met_url: url("met"), not_now_url: url("not-now"), never_url: url("never") }
}

#[test]
fn text_and_html_of_every_e_mail_say_the_same_and_are_small() {
    let long = "<Zoë> & \"Ana\" ".repeat(20);
    let suggestions: Vec<_> = [(&["Ana"][..], "why"), (&["Ben", "Cy"], ""), (&[&long, &long, &long], &long)]
        .into_iter()
        .flat_map(|(contacts, reasoning)| {
            let suggestion = suggestion(contacts, reasoning);
            [suggestion.clone(), Suggestion { acts: Some(acts()), ..suggestion }]
        })
        .collect();
    let notices = [
        notice(Integration::GoogleCalendar, NoticeKind::TokenInvalid),
        TokenNotice {
            at: Some(frame().now),
            ..notice(Integration::GoogleContacts, NoticeKind::TokenExpiringSoon)
        },
    ];
    let question =
        StillUseful { last_suggestion_id: Uuid::nil(), yes_url: "https://hooks.example/yes?a&b".to_owned() };
    let full = Frame {
        unsubscribe_url: Some("https://hooks.example/unsubscribe?a&b".to_owned()),
        postal_address: Some("CatchUp <Inc.>, 1 Main & Side Street".to_owned()),
        ..frame()
    };
    for frame in [frame(), full, Frame { name: None, ..frame() }] {
        for suggestions in suggestions.chunks(3).chain(suggestions.chunks(1)) {
            check(suggestions, &frame);
        }
        for notices in [&notices[..1], &notices[1..], &notices] {
            check(notices, &frame);
        }
        check(std::slice::from_ref(&question), &frame);
    }
}

#[test]
fn an_e_mail_needs_no_image_and_loads_nothing() {
    let html = email(&[suggestion(&["Ana"], "why")], &frame()).html;
    for loading in ["<img", "<script", "<link", "src=", "url(", "@import", "@font-face"] {
        assert!(!html.contains(loading), "{loading}");
    }
}
