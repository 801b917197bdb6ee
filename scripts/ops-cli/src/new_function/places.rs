//! Where a queue is added to a file that has all of them.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::name::Name;
use crate::usage_error::UsageError;

/// How the files end whose last object has one entry per queue.
const END: &str = "\n  }\n}\n";
/// The longest name in the columns of these files.
const COLUMN: usize = 26;
const LAST_PAYLOAD: &str = "(),\n];\n";
const LAST_CONSTANT: &str = "\";\n}\n";

/// A declaration with one more entry in its last object, which is `object`.
pub(super) fn with_entry(text: &str, object: &str, name: &Name, entry: &str) -> anyhow::Result<String> {
    let declared: Value = serde_json::from_str(text).context("it is malformed")?;
    let exists = declared[object].get(name.kebab()).is_some();
    ensure!(!exists, UsageError(format!("{} exists already", name.kebab())));
    let entries = text.strip_suffix(END).context("it has another layout")?;
    let with_entry = format!("{entries},\n{entry}{END}");
    let declared: Value = serde_json::from_str(&with_entry)?;
    ensure!(declared[object].get(name.kebab()).is_some(), "its last object is not {object}");
    Ok(with_entry)
}

/// The entry of `infra/gcp/functions.json`: what every function may use, and nothing else.
pub(super) fn needs(name: &Name) -> String {
    column(
        name,
        r#"{ "features": [],                     "enqueues": [],                                        "concurrency": 16, "maxInstances": 1 }"#,
    )
}

/// The entry of `infra/cost.json`.
pub(super) fn load(name: &Name) -> String {
    column(name, r#"{ "perUserDay": 1.0,  "vendorCalls": 0, "why": "assumed until it is known" }"#)
}

fn column(name: &Name, entry: &str) -> String {
    let key = format!("\"{}\":", name.kebab());
    format!("    {key:<COLUMN$} {entry}")
}

/// `queues.rs` with the constant.
pub(super) fn with_constant(text: &str, name: &Name) -> anyhow::Result<String> {
    before(text, LAST_CONSTANT, "\";\n".len(), &name.fill("    {{CONST}}: \"{{name}}\";\n"))
}

/// `payload.rs` with the module, its export, and the type in the list of all.
pub(super) fn with_payload(text: &str, name: &Name) -> anyhow::Result<String> {
    let text = in_order(text, "mod ", &name.fill("mod {{snake}};\n"))?;
    let text = in_order(&text, "pub use ", &name.fill("pub use {{snake}}::{{Camel}};\n"))?;
    before(&text, LAST_PAYLOAD, "(),\n".len(), &name.fill("    Kind::of::<{{Camel}}>(),\n"))
}

/// `text` with a line inside the only `mark`, so many bytes behind its begin.
fn before(text: &str, mark: &str, offset: usize, line: &str) -> anyhow::Result<String> {
    let mut places = text.match_indices(mark).map(|(at, _)| at + offset);
    let (Some(at), None) = (places.next(), places.next()) else {
        anyhow::bail!("it has another layout: {mark:?} is not there once");
    };
    Ok(format!("{}{line}{}", &text[..at], &text[at..]))
}

/// `text` with a line among those that begin alike, in alphabetical order as rustfmt wants it.
fn in_order(text: &str, start: &str, line: &str) -> anyhow::Result<String> {
    let mut end = None;
    let mut at = 0;
    let mut is_open = false;
    for each in text.split_inclusive('\n') {
        // A module with a body, such as that of the tests, is none of them.
        if each.starts_with(start) && !each.ends_with(" {\n") {
            if each > line {
                end = Some(at);
                break;
            }
            is_open = true;
        }
        at += each.len();
        // An item of several lines ends with the first semicolon.
        if is_open && each.ends_with(";\n") {
            (end, is_open) = (Some(at), false);
        }
    }
    let at = end.with_context(|| format!("it has another layout: no line begins with {start}"))?;
    Ok(format!("{}{line}{}", &text[..at], &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name::parse("some-thing").unwrap()
    }

    #[test]
    fn an_entry_is_added_to_the_last_object_and_only_there() {
        let text = "{\n  \"x\": {},\n  \"queues\": {\n    \"a\": {}\n  }\n}\n";
        let added = with_entry(text, "queues", &name(), "    \"some-thing\": {}").unwrap();
        assert_eq!(
            added,
            "{\n  \"x\": {},\n  \"queues\": {\n    \"a\": {},\n    \"some-thing\": {}\n  }\n}\n"
        );
        assert!(with_entry(&added, "queues", &name(), "").unwrap_err().is::<UsageError>());
        with_entry(text, "x", &name(), "    \"some-thing\": {}").unwrap_err();
        with_entry("{\"queues\":{}}", "queues", &name(), "    \"some-thing\": {}").unwrap_err();
    }

    #[test]
    fn modules_and_exports_are_in_the_order_of_rustfmt() {
        #[track_caller]
        fn check(others: [&str; 2], expected: &str) {
            let [first, last] = others;
            let text = format!(
                "mod {first};\nmod {last};\n\npub use {first}::{{\n    A,\n    B,\n}};\npub use {last}::C;\n\n[\n    a::<A>(),\n];\n\nmod tests {{\n}}\n"
            );
            let changed = with_payload(&text, &name()).unwrap();
            assert!(changed.starts_with(expected), "{changed}");
            assert!(
                changed.ends_with("    a::<A>(),\n    Kind::of::<SomeThing>(),\n];\n\nmod tests {\n}\n"),
                "{changed}"
            );
        }
        check(
            ["a", "b"],
            "mod a;\nmod b;\nmod some_thing;\n\npub use a::{\n    A,\n    B,\n};\npub use b::C;\npub use some_thing::SomeThing;\n\n",
        );
        check(
            ["a", "z"],
            "mod a;\nmod some_thing;\nmod z;\n\npub use a::{\n    A,\n    B,\n};\npub use some_thing::SomeThing;\npub use z::C;\n\n",
        );
        check(
            ["y", "z"],
            "mod some_thing;\nmod y;\nmod z;\n\npub use some_thing::SomeThing;\npub use y::{\n    A,\n    B,\n};\npub use z::C;\n\n",
        );
        with_payload("mod a;\n", &name()).unwrap_err();
    }

    #[test]
    fn a_constant_is_added_behind_the_last_one() {
        let changed = with_constant("queues! {\n    A: \"a\";\n}\n\nrest\n", &name()).unwrap();
        assert_eq!(changed, "queues! {\n    A: \"a\";\n    SOME_THING: \"some-thing\";\n}\n\nrest\n");
    }
}
