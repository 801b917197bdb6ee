//! Payloads of every version that was ever sent are read: `tests/fixtures/payloads/<function>/v<version>.json` has some of
//! each.

use std::path::PathBuf;

use catchup::payload::{self, Kind};
use serde_json::{Value, json};
use shared::envelope::Envelope;

#[track_caller]
fn check(kind: &Kind) {
    let read = |data: &Value, version: u32| {
        let body = json!({ "data": data, "v": version }).to_string();
        let envelope = Envelope::parse(kind.queue, None, body.as_bytes()).unwrap();
        (kind.reread)(&envelope).unwrap_or_else(|error| panic!("{data}: {error}")).unwrap()
    };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/payloads").join(kind.queue.name());
    for version in 1..=kind.version {
        let file = folder.join(format!("v{version}.json"));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let payloads: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(!payloads.is_empty(), "{}", file.display());
        for payload in payloads {
            // What is read is also what this revision would send.
            let sent = read(&payload, version);
            assert_eq!(read(&sent, kind.version), sent);
        }
    }
    let next = folder.join(format!("v{}.json", kind.version + 1));
    assert!(!next.exists(), "{} is of a version that no revision sends", next.display());
}

#[test]
fn payloads_of_every_version_are_read() {
    payload::ALL.iter().for_each(check);
}
