//! E-mail, by either provider.

use std::collections::BTreeSet;

use catchup::db::token_health::NoticeKind;
use catchup::notify::Channel::Email;
use catchup::notify::Delivery;
use catchup::notify::message::TokenNotice;
use catchup::payload::Integration;
use messaging_stand_in::{Channel, Kind, Via};
use uuid::Uuid;

use crate::notify::stack::{ADDRESS, Mail, Stack, recipient, suggestion};

const CHANNEL: Channel = Channel::Email;

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_tells_only_of_what_is_new() {
    for mail in [Mail::SendGrid, Mail::Smtp] {
        let stack = Stack::start_with(mail).await;
        let person = recipient();
        let mut subjects = vec![suggestion("Ana"), suggestion("Zoë <b>")];
        let first = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert!(matches!(first, Delivery::Sent { .. }), "{first:?}");
        subjects.push(suggestion("Cy"));
        let second = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert!(matches!(second, Delivery::Sent { .. }), "{second:?}");
        let third = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert_eq!(third, Delivery::AlreadyClaimed);

        let messages = stack.messages();
        let [first, second] = messages.as_slice() else { panic!("{messages:?}") };
        let via = match mail {
            Mail::SendGrid => Via::SendGrid,
            Mail::Smtp => Via::Smtp,
        };
        assert_eq!((first.via, first.to.as_str()), (via, ADDRESS));
        assert_eq!(first.subject.as_deref(), Some("Time to catch up with Ana or Zoë <b>?"));
        let text = first.text.as_deref().unwrap().replace("\r\n", "\n");
        assert!(
            text.contains(
                "\n\nAna\nTue 24 Nov · 18:30–19:30\nYou last met 40 days ago.\n\
                 Open in CatchUp: https://app.example.test/app\n\nZoë <b>\n"
            ),
            "{text}"
        );
        assert!(first.html.as_deref().unwrap().contains(">Zoë &#60;b&#62;</h2>"), "{:?}", first.html);
        assert_eq!(second.subject.as_deref(), Some("Time to catch up with Cy?"));
        assert!(!second.text.as_deref().unwrap().contains("Ana"), "{second:?}");

        let ledger = stack.ledger().await;
        assert!(
            ledger.iter().all(|(_, channel, state, _)| channel == "email" && state == "sent"),
            "{ledger:?}"
        );
        let ids: BTreeSet<_> = ledger.into_iter().map(|(_, _, _, id)| id).collect();
        assert_eq!(ids.len(), 2, "a message has one id: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_brings_its_link() {
    let stack = Stack::start().await;
    let notice = TokenNotice {
        id: Uuid::new_v4(),
        integration: Integration::GoogleContacts,
        kind: NoticeKind::TokenInvalid,
        at: None,
    };
    let sent = stack.notifier.send(&recipient(), Email, ADDRESS, &[notice]).await.unwrap();
    assert!(matches!(sent, Delivery::Sent { .. }), "{sent:?}");
    let html = stack.messages()[0].html.clone().unwrap();
    assert!(html.contains("href=\"https://app.example.test/app?view=preferences\""), "{html}");
    assert_eq!(stack.ledger().await[0].0, format!("token_notice:{}", notice.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_recorded_and_not_asked_again() {
    for mail in [Mail::SendGrid, Mail::Smtp] {
        let stack = Stack::start_with(mail).await;
        let (person, subjects) = (recipient(), [suggestion("Ana")]);
        let told = stack.notifier.send(&person, Email, "no-address", &subjects).await.unwrap();
        assert!(matches!(told, Delivery::Refused { .. }), "{mail:?}: {told:?}");
        let asked = stack.inbox.requests(CHANNEL);
        let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert_eq!(told, Delivery::AlreadyClaimed, "{mail:?}");
        assert_eq!(
            (stack.inbox.requests(CHANNEL), stack.states().await),
            (asked, vec!["refused".to_owned()])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_refuses_the_recipient_for_good_is_believed() {
    let stack = Stack::start_with(Mail::Smtp).await;
    stack.fault(CHANNEL, Kind::Status { status: 550, code: 511 });
    let told = stack.notifier.send(&recipient(), Email, ADDRESS, &[suggestion("Ana")]).await.unwrap();
    assert_eq!(told, Delivery::Refused { code: "5.1.1".to_owned() });
    assert_eq!(stack.states().await, ["refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_server_refuses_because_of_us_is_not_booked_on_the_recipient() {
    // An unverified sender, a policy, a quota, relaying that is denied: as SendGrid, SES, Gmail and Postfix say it.
    for kind in [
        Kind::StatusAfterData { status: 550, code: 0 },
        Kind::StatusAfterData { status: 554, code: 0 },
        Kind::StatusAfterData { status: 554, code: 570 },
        Kind::StatusAfterData { status: 550, code: 545 },
        Kind::Status { status: 550, code: 571 },
        Kind::Status { status: 550, code: 0 },
    ] {
        let stack = Stack::start_with(Mail::Smtp).await;
        let (person, subjects) = (recipient(), [suggestion("Ana")]);
        stack.fault(CHANNEL, kind);
        let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert_eq!(told, Delivery::NotTaken { until: None }, "{kind:?}");
        assert_eq!(stack.states().await, [""; 0], "{kind:?}");
        let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert!(matches!(told, Delivery::Sent { .. }), "{kind:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_id_of_a_message_travels_with_it() {
    for mail in [Mail::SendGrid, Mail::Smtp] {
        let stack = Stack::start_with(mail).await;
        let told = stack.notifier.send(&recipient(), Email, ADDRESS, &[suggestion("Ana")]).await.unwrap();
        assert!(matches!(told, Delivery::Sent { .. }), "{told:?}");
        let id = stack.message_ids().await[0].to_string();
        let messages = stack.messages();
        assert!(
            messages[0].our_id.as_deref().is_some_and(|ours| ours.contains(&id)),
            "{mail:?}: {messages:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_certainly_not_taken_is_sent_again() {
    for (mail, kind, variable) in [
        (Mail::SendGrid, Kind::Status { status: 503, code: 0 }, "SENDGRID_API_KEY"),
        (Mail::Smtp, Kind::Status { status: 451, code: 0 }, "SMTP_FROM_EMAIL"),
        (Mail::Smtp, Kind::Reset, "SMTP_FROM_EMAIL"),
    ] {
        let stack = Stack::start_with(mail).await;
        let (person, subjects) = (recipient(), [suggestion("Ana")]);
        stack.fault(CHANNEL, kind);
        let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert_eq!(told, Delivery::NotTaken { until: None }, "{mail:?} {kind:?}");
        let stranger = stack.notifier_with(variable, "stranger@example.org");
        let told = stranger.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert_eq!(told, Delivery::NotTaken { until: None }, "{mail:?} {kind:?}");
        assert_eq!(stack.states().await, [""; 0], "{mail:?} {kind:?}");
        let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert!(matches!(told, Delivery::Sent { .. }), "{mail:?} {kind:?}: {told:?}");
        assert_eq!(stack.messages().len(), 1, "{mail:?} {kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_unavailable_or_refuses_the_login_was_sent_nothing() {
    let stack = Stack::start_with(Mail::Smtp).await;
    let (person, subjects) = (recipient(), [suggestion("Ana")]);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("smtp://{}", listener.local_addr().unwrap())
    };
    let wrong_password = stack.value("SMTP_URL").replace("stand-in-password", "wrong");
    let no_password = stack.value("SMTP_URL").replace("stand-in:stand-in-password@", "");
    for url in [closed, wrong_password, no_password] {
        let stranger = stack.notifier_with("SMTP_URL", &url);
        let told = stranger.send(&person, Email, ADDRESS, &subjects).await.unwrap();
        assert_eq!(told, Delivery::NotTaken { until: None });
    }
    assert_eq!((stack.inbox.requests(CHANNEL), stack.states().await), (0, Vec::<String>::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_taken_is_never_sent_again() {
    for mail in [Mail::SendGrid, Mail::Smtp] {
        for kind in
            [Kind::ResetAfterAccept, Kind::AcceptThenSlow { delay_ms: 60_000 }, Kind::AcceptThenGarbage]
        {
            let stack = Stack::start_with(mail).await;
            let (person, subjects) = (recipient(), [suggestion("Ana")]);
            stack.fault(CHANNEL, kind);
            let told = stack.notifier_for(kind).send(&person, Email, ADDRESS, &subjects).await;
            let told = told.unwrap_or_else(|error| panic!("{mail:?} {kind:?}: {error:?}"));
            assert_eq!(told, Delivery::Unknown, "{mail:?} {kind:?}");
            let told = stack.notifier.send(&person, Email, ADDRESS, &subjects).await.unwrap();
            assert_eq!(told, Delivery::AlreadyClaimed, "{mail:?} {kind:?}");
            assert_eq!(stack.states().await, ["unknown"], "{mail:?} {kind:?}");
            assert_eq!(stack.messages().len(), 1, "{mail:?} {kind:?}");
        }
    }
}
