//! Text messages, and what becomes of them when something breaks.

use std::slice::from_ref;

use catchup::notify::Channel::Sms;
use catchup::notify::{Delivery, Recipient};
use messaging_stand_in::{Channel, Kind, Via};
use shared::db;
use shared::telemetry::{Counter, Scope};

use crate::notify::stack::{NUMBER, Stack, recipient, suggestion};

const CHANNEL: Channel = Channel::Sms;

#[tokio::test(flavor = "multi_thread")]
async fn a_suggestion_reaches_a_phone_once() {
    let stack = Stack::start().await;
    let (person, subject) = (recipient(), suggestion("Ana"));
    let sent = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap();
    let again = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap();

    let messages = stack.messages();
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((message.via, message.to.as_str()), (Via::Twilio, NUMBER));
    assert_eq!(
        message.text.as_deref(),
        Some(
            "CatchUp: time for Ana? Tue 24 Nov 18:30 (You last met 40 days ago). https://app.example.test/app"
        )
    );
    let provider_id = message.provider_id.clone();
    assert_eq!(sent, Delivery::Sent { provider_id: provider_id.clone() });
    assert_eq!(again, Delivery::AlreadyClaimed);
    assert_eq!(
        stack.ledger().await,
        [(format!("suggestion:{}", subject.id), "sms".to_owned(), "sent".to_owned(), Some(provider_id))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_code_a_name_and_a_service_send_and_only_a_name_takes_no_stop() {
    let stack = Stack::start().await;
    for (variable, sender, says_stop) in [
        ("TWILIO_PHONE_NUMBER", "22395", true),
        ("TWILIO_PHONE_NUMBER", "CatchUp", false),
        ("TWILIO_MESSAGING_SERVICE_SID", "MG00000000000000000000000000000000", true),
    ] {
        let (notifier, person) = (stack.notifier_with(variable, sender), recipient());
        let person = Recipient { is_first_text: true, ..person };
        let sent = notifier.send(&person, Sms, NUMBER, from_ref(&suggestion("Ana"))).await;
        assert_told(&sent, "Sent");
        let text = stack.messages().pop().unwrap().text.unwrap();
        assert_eq!(text.contains("Reply STOP to stop"), says_stop, "{sender}: {text}");
        assert_eq!(text.contains("To stop: https://"), !says_stop, "{sender}: {text}");
    }
    // That is ours to arrange, and no fault of the number's.
    let named = stack.notifier_with("TWILIO_PHONE_NUMBER", "CatchUp");
    let refused = named.send(&recipient(), Sms, "+12125550100", from_ref(&suggestion("Ana"))).await;
    assert_told(&refused, "NotTaken");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_senders_send_one_message() {
    let stack = Stack::start().await;
    let (person, subject) = (recipient(), suggestion("Ana"));
    let sending = (0..8).map(|_| stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)));
    let deliveries = futures_util::future::join_all(sending).await;
    let sent = deliveries.iter().filter(|delivery| matches!(delivery, Ok(Delivery::Sent { .. }))).count();
    assert_eq!((sent, stack.messages().len()), (1, 1), "{deliveries:?}");
}

#[track_caller]
fn assert_told(told: &Result<Delivery, db::Error>, expected: &str) {
    assert!(format!("{told:?}").contains(expected), "{told:?} is not {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_none_or_has_unsubscribed_is_recorded_and_not_asked_again() {
    let stack = Stack::start().await;
    let (person, subject, other) = (recipient(), suggestion("Ana"), suggestion("Ben"));
    let told = stack.notifier.send(&person, Sms, "015112345678", from_ref(&subject)).await;
    assert_told(&told, r#"Refused { code: "21211" }"#);
    stack.fault(CHANNEL, Kind::Status { status: 400, code: 21610 });
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&other)).await;
    assert_told(&told, r#"Refused { code: "21610" }"#);

    assert_eq!(stack.states().await, ["refused", "refused"]);
    let asked = stack.inbox.requests(CHANNEL);
    assert_eq!(
        stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap(),
        Delivery::AlreadyClaimed
    );
    assert_eq!((stack.inbox.requests(CHANNEL), stack.messages().len()), (asked, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_certainly_not_taken_is_sent_again() {
    let stack = Stack::start().await;
    let (person, subject) = (recipient(), suggestion("Ana"));
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let unreachable = stack.notifier_with("TWILIO_API_URL", &closed);
    let told = unreachable.send(&person, Sms, NUMBER, from_ref(&subject)).await;
    assert_told(&told, "NotTaken { until: None }");

    let stranger = stack.notifier_with("TWILIO_AUTH_TOKEN", "wrong");
    let told = stranger.send(&person, Sms, NUMBER, from_ref(&subject)).await;
    assert_told(&told, "NotTaken { until: None }");

    stack.fault(CHANNEL, Kind::Status { status: 503, code: 20503 });
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await;
    assert_told(&told, "NotTaken { until: None }");

    // A region or a route that the account lacks, and content that the request lacks, are not the recipient's fault.
    for code in [21408, 21612, 21656] {
        stack.fault(CHANNEL, Kind::Status { status: 400, code });
        let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await;
        assert_told(&told, "NotTaken { until: None }");
    }

    for (status, code) in [(429, 20429), (429, 63038), (400, 21611)] {
        stack.fault(CHANNEL, Kind::Status { status, code });
        let before = stack.now();
        let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap();
        let Delivery::NotTaken { until: Some(until) } = told else { panic!("{told:?}") };
        assert!(until > before);
    }

    assert_eq!(stack.states().await, [""; 0]);
    let told = stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await;
    assert_told(&told, "Sent");
    assert_eq!(stack.messages().len(), 1);
}

async fn check_unknown(kind: Kind, arrives: bool) {
    let stack = Stack::start().await;
    let (person, subject) = (recipient(), suggestion("Ana"));
    stack.fault(CHANNEL, kind);
    let notifier = stack.notifier_for(kind);
    assert_eq!(
        notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap(),
        Delivery::Unknown,
        "{kind:?}"
    );
    assert_eq!(stack.states().await, ["unknown"], "{kind:?}");
    assert_eq!(
        stack.notifier.send(&person, Sms, NUMBER, from_ref(&subject)).await.unwrap(),
        Delivery::AlreadyClaimed,
        "{kind:?}"
    );
    assert_eq!(stack.messages().len(), usize::from(arrives), "{kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_taken_is_never_sent_again() {
    for (kind, arrives) in [
        (Kind::Reset, false),
        (Kind::ResetAfterAccept, true),
        (Kind::AcceptThenSlow { delay_ms: 60_000 }, true),
        (Kind::AcceptThenStatus { status: 502 }, true),
        (Kind::AcceptThenStatus { status: 503 }, true),
        (Kind::AcceptThenGarbage, true),
        (Kind::Status { status: 500, code: 20500 }, false),
    ] {
        check_unknown(kind, arrives).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_for_the_task_and_timed_for_the_process() {
    let stack = Stack::start().await;
    let scope = std::sync::Arc::new(Scope::default());
    let meter = std::sync::Arc::clone(&scope.meter);
    let person = recipient();
    scope
        .enter(async {
            let taken = stack.notifier.send(&person, Sms, NUMBER, from_ref(&suggestion("Ana"))).await;
            assert_told(&taken, "Sent");
            let refused = stack.notifier.send(&person, Sms, "no-number", from_ref(&suggestion("Ben"))).await;
            assert_told(&refused, "Refused");
        })
        .await;
    assert_eq!(meter.get(Counter::VendorCall("twilio.messages.create")), 2);
    let page = shared::telemetry::metrics::render();
    for result in ["ok", "error"] {
        let line = format!(
            "vendor_call_duration_seconds_count{{method=\"twilio.messages.create\",result=\"{result}\"}}"
        );
        assert!(page.contains(&line), "{line} is not in {page}");
    }
}
