//! What Upstash would bill.

use serde_json::{Value, json};

use crate::kit::Gateway;

#[tokio::test]
async fn each_command_of_a_request_counts_once_whatever_it_becomes_on_its_way() {
    let gateway = Gateway::start().await;
    gateway.run(json!(["SET", "claim", "lease", "NX", "PX", 60_000])).await;
    gateway.run(json!(["SET", "claim", "done", "IFEQ", "lease", "EX", 86_400])).await;
    let bill = gateway.billing.reset();
    assert_eq!((bill.billed, bill.commands.get("SET")), (2, Some(&2)));

    gateway
        .post("/pipeline", &json!([["GET", "a"], ["GET", "b"], ["BLPOP", "l", 0], ["INCR", "claim"]]))
        .await;
    gateway.post("/multi-exec", &json!([["DIGEST", "claim"], ["DELEX", "claim"]])).await;
    gateway.post("/multi-exec", &json!([["SET", "a", 1], ["BLPOP", "l", 0]])).await;
    gateway.run(json!(["NONSENSE", "x"])).await;
    gateway.request("GET", "/get/a?_token=x", &[("upstash-response-format", "none")], b"").await;
    let bill = gateway.billing.bill();
    let counts: Vec<_> = bill.commands.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counts, [("DELEX", 1), ("DIGEST", 1), ("GET", 2), ("INCR", 1), ("UNKNOWN", 1)]);
    assert_eq!(bill.billed, 6);
}

/// Upstash's sliding window, as its limiter writes it, without the part for dynamic limits.
const SLIDING_WINDOW: &str = "#!lua flags=allow-key-locking
local current = redis.call('GET', KEYS[1]) or 0
local previous = redis.call('GET', KEYS[2]) or 0
if previous + current >= tonumber(ARGV[1]) then return -1 end
local new = redis.call('INCRBY', KEYS[1], 1)
if new == 1 then redis.call('PEXPIRE', KEYS[1], 60000) end
return new";

#[tokio::test]
async fn calls_inside_scripts_are_counted_exactly_where_asked_for() {
    let gateway = Gateway::with(|config| config.count_script_calls = true).await;
    let window = json!(["EVAL", SLIDING_WINDOW, 2, "now", "before", 2]);
    for (command, result, billed) in [(&window, 1, 5), (&window, 2, 4), (&window, -1, 3)] {
        assert_eq!(gateway.run(command.clone()).await, json!({ "result": result }));
        assert_eq!(gateway.billing.reset().billed, billed);
    }
    // Inside a pipeline and a transaction, with others at work at the same time.
    let noise = futures_util::future::join_all((0..20).map(|_| gateway.run(json!(["GET", "noise"]))));
    let commands = json!([["GET", "x"], window, ["GET", "x"], window]);
    let (piped, executed, _) = futures_util::join!(
        gateway.post("/pipeline", &commands),
        gateway.post("/multi-exec", &commands),
        noise
    );
    let expected = json!([{ "result": null }, { "result": -1 }, { "result": null }, { "result": -1 }]);
    assert_eq!((piped.json(), executed.json()), (expected.clone(), expected));
    let bill = gateway.billing.reset();
    assert_eq!((bill.commands["EVAL"], bill.commands["GET"], bill.script_calls["GET"]), (4, 24, 8));
    assert_eq!(bill.billed, 36);
    // A script that does not even start.
    let error = gateway.run(json!(["EVAL", "return"])).await;
    assert_eq!(error, json!({ "error": "ERR wrong number of arguments for 'eval' command" }));
    let missing = gateway.run(json!(["EVALSHA", "0", 0])).await;
    assert!(missing["error"].as_str().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{missing}");
    assert_eq!(gateway.billing.reset().billed, 2);
}

#[tokio::test]
async fn the_counts_are_served_and_reset_only_where_configured() {
    let gateway = Gateway::with(|config| config.stats = true).await;
    gateway.run(json!(["GET", "a"])).await;
    let bill = json!({ "billed": 1, "commands": { "GET": 1 }, "scriptCalls": {} });
    assert_eq!(gateway.request("GET", "/__stats", &[], b"").await.json(), bill);
    assert_eq!(gateway.request("DELETE", "/__stats", &[], b"").await.json(), bill);
    let empty = json!({ "billed": 0, "commands": {}, "scriptCalls": {} });
    assert_eq!(gateway.request("GET", "/__stats", &[], b"").await.json(), empty);

    let closed = Gateway::start().await;
    assert_eq!(closed.request("DELETE", "/__stats", &[], b"").await.status, 405);
    assert_eq!(closed.request("GET", "/__stats", &[], b"").await.json()["billed"], Value::Null);
}
