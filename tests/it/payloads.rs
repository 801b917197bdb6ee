//! Payloads of every version that was ever sent are read: `tests/fixtures/payloads/<function>/v<version>.json` has some of
//! each.

use std::path::PathBuf;

use catchup::payload::{
    AdaptiveSync, BatchNotifications, CalendarSync, GoogleContactsSync, NotificationReminder,
    SuggestionGeneration, SuggestionRegeneration, TokenHealthReminder, TokenRefresh, WebhookHealthCheck,
    WebhookRenewal,
};
use catchup::queues;
use serde_json::{Value, json};
use shared::envelope::Envelope;
use shared::payload::Payload;
use shared::queue::Queue;

fn check<P: Payload>() -> Queue {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/payloads").join(P::QUEUE.name());
    for version in 1..=P::VERSION {
        let file = folder.join(format!("v{version}.json"));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let payloads: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(!payloads.is_empty(), "{}", file.display());
        for payload in payloads {
            let body = json!({ "data": payload, "v": version }).to_string();
            let envelope = Envelope::parse(P::QUEUE, None, body.as_bytes()).unwrap();
            let read = envelope.payload::<P>().unwrap_or_else(|error| panic!("{payload}: {error}"));
            // What is read is also what this revision would send.
            let sent = json!({ "data": read, "v": P::VERSION }).to_string();
            Envelope::parse(P::QUEUE, None, sent.as_bytes()).unwrap().payload::<P>().unwrap();
        }
    }
    let next = folder.join(format!("v{}.json", P::VERSION + 1));
    assert!(!next.exists(), "{} is of a version that no revision sends", next.display());
    P::QUEUE
}

#[test]
fn payloads_of_every_version_are_read() {
    let checked = [
        check::<TokenRefresh>(),
        check::<CalendarSync>(),
        check::<GoogleContactsSync>(),
        check::<AdaptiveSync>(),
        check::<WebhookRenewal>(),
        check::<SuggestionRegeneration>(),
        check::<BatchNotifications>(),
        check::<SuggestionGeneration>(),
        check::<WebhookHealthCheck>(),
        check::<NotificationReminder>(),
        check::<TokenHealthReminder>(),
    ];
    assert!(queues::all().all(|queue| checked.contains(&queue)));
}
