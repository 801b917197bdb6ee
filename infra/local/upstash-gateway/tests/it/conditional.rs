//! `SET … IFEQ|IFNE|IFDEQ|IFDNE`, `DELEX` and `DIGEST` on a Redis that has none of them.

use serde_json::{Value, json};

use crate::kit::Gateway;

/// From Redis' documentation of `DIGEST`.
const HELLO: (&str, &str) = ("Hello world", "b6acb9d84a38ff74");
const OTHER_DIGEST: &str = "0000000000000000";

#[tokio::test]
async fn set_on_condition_of_the_value() {
    let gateway = Gateway::start().await;
    gateway
        .expect(&[
            // A missing key equals nothing, and differs from everything.
            (json!(["SET", "k", "a", "IFEQ", "x"]), Value::Null),
            (json!(["EXISTS", "k"]), json!(0)),
            (json!(["SET", "k", "a", "IFNE", "x"]), json!("OK")),
            (json!(["SET", "k", "b", "IFNE", "a"]), Value::Null),
            (json!(["SET", "k", "b", "ifeq", "a"]), json!("OK")),
            (json!(["SET", "k", "c", "IFEQ", "a"]), Value::Null),
            (json!(["GET", "k"]), json!("b")),
            // Lifetimes, in either order.
            (json!(["SET", "k", "c", "IFEQ", "b", "EX", 100]), json!("OK")),
            (json!(["TTL", "k"]), json!(100)),
            (json!(["SET", "k", "d", "KEEPTTL", "IFEQ", "c"]), json!("OK")),
            (json!(["TTL", "k"]), json!(100)),
            (json!(["SET", "k", "e", "PX", 50_000, "IFEQ", "d"]), json!("OK")),
            (json!(["TTL", "k"]), json!(50)),
            (json!(["SET", "k", "f", "IFEQ", "e"]), json!("OK")),
            (json!(["TTL", "k"]), json!(-1)),
            // GET tells the old value in any case.
            (json!(["SET", "k", "g", "IFEQ", "f", "GET"]), json!("f")),
            (json!(["SET", "k", "h", "GET", "IFEQ", "f"]), json!("g")),
            (json!(["GET", "k"]), json!("g")),
            (json!(["SET", "new", "a", "IFNE", "x", "GET"]), Value::Null),
            (json!(["GET", "new"]), json!("a")),
            (json!(["SET", "none", "a", "IFEQ", "x", "GET"]), Value::Null),
            (json!(["EXISTS", "none"]), json!(0)),
            // Words that only look like conditions.
            (json!(["SET", "IFEQ", "IFNE"]), json!("OK")),
            (json!(["SET", "k", "IFEQ", "XX"]), json!("OK")),
            (json!(["GET", "k"]), json!("IFEQ")),
        ])
        .await;
}

#[tokio::test]
async fn set_on_condition_of_the_digest() {
    let gateway = Gateway::start().await;
    let (value, digest) = HELLO;
    gateway
        .expect(&[
            (json!(["SET", "k", value, "IFDEQ", digest]), Value::Null),
            (json!(["SET", "k", value, "IFDNE", digest]), json!("OK")),
            (json!(["DIGEST", "k"]), json!(digest)),
            (json!(["SET", "k", "a", "IFDEQ", OTHER_DIGEST]), Value::Null),
            (json!(["SET", "k", "a", "IFDNE", digest]), Value::Null),
            (json!(["SET", "k", "a", "IFDEQ", digest.to_uppercase(), "GET", "EX", 9]), json!(value)),
            (json!(["TTL", "k"]), json!(9)),
            (json!(["DIGEST", "missing"]), Value::Null),
        ])
        .await;
}

#[tokio::test]
async fn delete_on_condition() {
    let gateway = Gateway::start().await;
    let (value, digest) = HELLO;
    gateway
        .expect(&[
            (json!(["DELEX", "k"]), json!(0)),
            (json!(["DELEX", "k", "IFNE", "x"]), json!(0)),
            (json!(["SET", "k", value]), json!("OK")),
            (json!(["DELEX", "k", "IFEQ", "x"]), json!(0)),
            (json!(["DELEX", "k", "IFNE", value]), json!(0)),
            (json!(["DELEX", "k", "IFDEQ", OTHER_DIGEST]), json!(0)),
            (json!(["DELEX", "k", "IFDNE", digest]), json!(0)),
            (json!(["EXISTS", "k"]), json!(1)),
            (json!(["DELEX", "k", "ifeq", value]), json!(1)),
            (json!(["EXISTS", "k"]), json!(0)),
            (json!(["MSET", "a", value, "b", value, "c", value]), json!("OK")),
            (json!(["DELEX", "a", "IFNE", "x"]), json!(1)),
            (json!(["DELEX", "b", "IFDEQ", digest]), json!(1)),
            (json!(["DELEX", "c", "IFDNE", OTHER_DIGEST]), json!(1)),
            // Without a condition any type goes.
            (json!(["RPUSH", "list", 1]), json!(1)),
            (json!(["DELEX", "list"]), json!(1)),
        ])
        .await;
}

#[tokio::test]
async fn invalid_conditional_commands_get_the_errors_of_redis() {
    let gateway = Gateway::start().await;
    gateway.expect(&[(json!(["RPUSH", "list", 1]), json!(1)), (json!(["SET", "k", "v"]), json!("OK"))]).await;
    let check = async |command: Value, expected: &str| {
        assert_eq!(gateway.run(command.clone()).await, json!({ "error": expected }), "{command}");
    };
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    check(json!(["SET", "list", "v", "IFEQ", "x"]), wrong_type).await;
    check(json!(["DELEX", "list", "IFEQ", "x"]), wrong_type).await;
    check(json!(["DIGEST", "list"]), wrong_type).await;
    for options in [
        json!(["IFEQ"]),
        json!(["IFEQ", "a", "IFNE", "b"]),
        json!(["NX", "IFEQ", "a"]),
        json!(["IFEQ", "a", "XX"]),
        json!(["IFEQ", "a", "EX", 1, "KEEPTTL"]),
        json!(["IFEQ", "a", "EX"]),
        json!(["IFEQ", "a", "NONSENSE"]),
    ] {
        let command: Vec<_> = ["SET", "k", "v"]
            .map(Value::from)
            .into_iter()
            .chain(options.as_array().cloned().into_iter().flatten())
            .collect();
        check(Value::Array(command), "ERR syntax error").await;
    }
    check(json!(["SET", "k", "v", "IFEQ", "other", "EX", 0]), "ERR invalid expire time in 'set' command")
        .await;
    check(
        json!(["SET", "k", "v", "IFEQ", "other", "PX", "x"]),
        "ERR value is not an integer or out of range",
    )
    .await;
    check(json!(["SET", "k", "v", "IFDEQ", "abc"]), "ERR a digest must be exactly 16 hexadecimal characters")
        .await;
    check(json!(["DELEX", "k", "IFXX", "a"]), "ERR syntax error").await;
    check(json!(["DELEX"]), "ERR wrong number of arguments for 'delex' command").await;
    check(json!(["DELEX", "k", "IFEQ"]), "ERR wrong number of arguments for 'delex' command").await;
    check(json!(["DIGEST"]), "ERR wrong number of arguments for 'digest' command").await;
    check(json!(["SET", "k"]), "ERR wrong number of arguments for 'set' command").await;
}

#[tokio::test]
async fn conditions_work_inside_transactions_and_pipelines() {
    let gateway = Gateway::start().await;
    let (value, digest) = HELLO;
    let commands = json!([
        ["SET", "k", value],
        ["DIGEST", "k"],
        ["SET", "k", "b", "IFDEQ", digest],
        ["SET", "k", "c", "IFEQ", "a"],
        ["DELEX", "k", "IFEQ", "b"],
        ["DIGEST", "k"],
        ["DIGEST", "k", "k"],
    ]);
    let wrong = json!({ "error": "ERR wrong number of arguments for 'digest' command" });
    let expected = json!([
        { "result": "OK" }, { "result": digest }, { "result": "OK" }, { "result": null }, { "result": 1 }, { "result": null }, wrong,
    ]);
    assert_eq!(gateway.post("/pipeline", &commands).await.json(), expected);
    assert_eq!(gateway.post("/multi-exec", &commands).await.json(), wrong);
    let commands = Value::Array(commands.as_array().expect("an array")[..6].to_vec());
    let expected = Value::Array(expected.as_array().expect("an array")[..6].to_vec());
    assert_eq!(gateway.post("/multi-exec", &commands).await.json(), expected);
}

#[tokio::test]
async fn the_digest_inside_redis_is_the_one_computed_here_for_every_length() {
    // Each of the hash's ways of working: up to 16, 128, 240 bytes, one block of 1024, several.
    let lengths =
        (0..=300).chain([511, 512, 513, 1023, 1024, 1025, 1087, 1088, 1089, 2047, 2048, 2049, 100_000]);
    let values = lengths.map(|length| ('!'..='~').cycle().step_by(7).take(length).collect::<String>());
    let values: Vec<_> = values.collect();
    let gateway = Gateway::start().await;
    let sets = values.iter().enumerate().map(|(key, value)| json!(["SET", key, value])).collect();
    gateway.post("/pipeline", &Value::Array(sets)).await;
    let digests = (0..values.len()).map(|key| json!(["DIGEST", key])).collect();
    let digests = gateway.post("/pipeline", &Value::Array(digests)).await.json();
    let digests = digests.as_array().expect("items");
    let deletions = digests
        .iter()
        .enumerate()
        .map(|(key, item)| json!(["DELEX", key, "IFDEQ", item["result"]]))
        .collect();
    let outcomes = gateway.post("/pipeline", &Value::Array(deletions)).await.json();
    for (value, item) in values.iter().zip(outcomes.as_array().expect("items")) {
        assert_eq!(*item, json!({ "result": 1 }), "length {}", value.len());
    }
}

#[tokio::test]
async fn one_of_many_concurrent_swaps_of_a_value_succeeds() {
    const CLIENTS: usize = 50;
    let gateway = Gateway::start().await;
    gateway.run(json!(["SET", "lease", "free"])).await;
    let swap =
        (0..CLIENTS).map(|owner| gateway.run(json!(["SET", "lease", owner, "IFEQ", "free", "PX", 60_000])));
    let answers = futures_util::future::join_all(swap).await;
    assert_eq!(answers.iter().filter(|answer| **answer == json!({ "result": "OK" })).count(), 1);
}
