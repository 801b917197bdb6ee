//! The ways in which a command can be written.

use serde_json::{Value, json};

use crate::kit::Gateway;

#[tokio::test]
async fn a_path_a_body_and_parameters_make_one_command() {
    let gateway = Gateway::start().await;
    let check = async |method: &str, target: &str, body: &str, expected: Value| {
        let answer = gateway.request(method, target, &[], body.as_bytes()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "result": expected })), "{method} {target}");
    };
    check("GET", "/set/foo/bar", "", json!("OK")).await;
    check("GET", "/get/foo", "", json!("bar")).await;
    check("GET", "/GET/foo/", "", json!("bar")).await;
    check("POST", "/set/foo", "from the body", json!("OK")).await;
    check("POST", "/get/foo", "", json!("from the body")).await;
    check("PUT", "/set/foo?EX=100", "with a lifetime", json!("OK")).await;
    check("GET", "/ttl/foo", "", json!(100)).await;
    check("POST", "/set/foo?EX=50&XX&GET", "again", json!("with a lifetime")).await;
    check("GET", "/set/foo/bar/EX/100?_token=ignored&NX", "", Value::Null).await;
    check("GET", "/set/a%2Fb%20c/d%C3%A9", "", json!("OK")).await;
    check("GET", "/get/a%2Fb%20c", "", json!("dé")).await;
    check("GET", "/incr/n", "", json!(1)).await;
    check("GET", "/zadd/z/1.5/one/2/two", "", json!(2)).await;
    check("GET", "/zscore/z/one", "", json!("1.5")).await;
    check("GET", "/zrange/z/0/-1/withscores", "", json!(["one", "1.5", "two", "2"])).await;
}

#[tokio::test]
async fn a_json_array_is_one_command_whose_numbers_keep_their_digits() {
    let gateway = Gateway::start().await;
    let answer = gateway.request("POST", "/", &[], br#"["SET", "n", 12345678901234567890.10]"#).await;
    assert_eq!(answer.json(), json!({ "result": "OK" }));
    gateway
        .expect(&[
            (json!(["GET", "n"]), json!("12345678901234567890.10")),
            (json!(["SET", "b", true]), json!("OK")),
            (json!(["get", "b"]), json!("true")),
            (json!(["SET", "e", ""]), json!("OK")),
            (json!(["GET", "e"]), json!("")),
            (json!(["GET", "missing"]), Value::Null),
            (json!(["EVAL", "return {1, {'a', false}, 3.9}", 0]), json!([1, ["a", null], 3])),
            (json!(["ECHO", "hello"]), json!("hello")),
        ])
        .await;
}

#[tokio::test]
async fn malformed_request_gets_400_with_a_reason() {
    let gateway = Gateway::start().await;
    let check = async |target: &str, body: &str, expected: &str| {
        let answer = gateway.request("POST", target, &[], body.as_bytes()).await;
        assert_eq!((answer.status, answer.json()), (400, json!({ "error": expected })), "{target} {body}");
    };
    check("/", "", "ERR empty command").await;
    check("/", "[]", "ERR empty command").await;
    check("/", "{}", "ERR failed to parse command").await;
    check("/", r#"["SET", "a", null]"#, "ERR null args are not supported").await;
    check("/", r#"["SET", "a", ["b"]]"#, "ERR unsupported arg type").await;
    check("/", r#"[["GET", "a"]]"#, "ERR unsupported arg type").await;
    check("/pipeline", "[]", "ERR empty pipeline request").await;
    check("/pipeline", r#"["GET", "a"]"#, "ERR failed to parse pipeline request").await;
    check("/pipeline", "[[]]", "ERR empty command").await;
    check("/multi-exec", "nonsense", "ERR failed to parse transaction request").await;
    check("/", r#"["GET"]"#, "ERR wrong number of arguments for 'get' command").await;
    check("/get", "", "ERR wrong number of arguments for 'get' command").await;
}

#[tokio::test]
async fn pipeline_returns_one_result_per_command_and_continues_after_an_error() {
    let gateway = Gateway::start().await;
    let commands = json!([
        ["SET", "key1", "valuex"],
        ["SETEX", "key2", 13, "valuez"],
        ["INCR", "key1"],
        ["SUBSCRIBE", "x"],
        ["ZADD", "myset", 11, "item1", 22, "item2"],
    ]);
    let answer = gateway.post("/pipeline", &commands).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!([
            { "result": "OK" },
            { "result": "OK" },
            { "error": "ERR value is not an integer or out of range" },
            { "error": "ERR Command is not available: 'SUBSCRIBE'. See https://upstash.com/docs/redis/overall/rediscompatibility for details" },
            { "result": 2 },
        ])
    );
}

#[tokio::test]
async fn other_http_methods_get_405() {
    let gateway = Gateway::start().await;
    for method in ["DELETE", "PATCH", "OPTIONS"] {
        let answer = gateway.request(method, "/ping", &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("HEAD, GET, POST, PUT")), "{method}");
    }
    let head = gateway.request("HEAD", "/set/by/head", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    gateway.expect(&[(json!(["GET", "by"]), json!("head"))]).await;
}

#[tokio::test]
async fn commands_that_would_block_change_or_end_a_shared_connection_are_refused() {
    let gateway = Gateway::start().await;
    for command in [
        json!(["BLPOP", "l", 0]),
        json!(["blmove", "a", "b", "LEFT", "LEFT", 0]),
        json!(["XREAD", "BLOCK", 0, "STREAMS", "s", "$"]),
        json!(["XREADGROUP", "GROUP", "g", "c", "block", 0, "STREAMS", "s", ">"]),
        json!(["WAIT", 1, 0]),
        json!(["WATCH", "a"]),
        json!(["MULTI"]),
        json!(["EXEC"]),
        json!(["SUBSCRIBE", "c"]),
        json!(["MONITOR"]),
        json!(["SELECT", 1]),
        json!(["AUTH", "x"]),
        json!(["CLIENT", "KILL", "TYPE", "normal"]),
        json!(["HELLO", 3]),
        json!(["QUIT"]),
        json!(["RESET"]),
        json!(["SCRIPT", "DEBUG", "YES"]),
        json!(["CONFIG", "SET", "dir", "/"]),
        json!(["SHUTDOWN"]),
        json!(["POST", "x"]),
        json!(["Host:", "x"]),
    ] {
        let answer = gateway.post("/", &command).await;
        let text = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(
            answer.status == 400 && text.starts_with("ERR Command is not available: '"),
            "{command}: {text}"
        );
    }
    // Words that block elsewhere are only names here.
    gateway
        .expect(&[
            (json!(["XADD", "s", "1-1", "f", "v"]), json!("1-1")),
            (json!(["XREAD", "COUNT", 1, "STREAMS", "s", "0"]), json!([["s", [["1-1", ["f", "v"]]]]])),
            (json!(["XREAD", "STREAMS", "BLOCK", "0"]), Value::Null),
        ])
        .await;
}

#[tokio::test]
async fn every_write_gives_a_new_sync_token_and_reads_repeat_it() {
    let gateway = Gateway::start().await;
    let token = async |target: &str, command: Value| {
        gateway.post(target, &command).await.header("upstash-sync-token").map(str::to_owned)
    };
    let first = token("/", json!(["SET", "a", 1])).await;
    let second = token("/", json!(["SET", "a", 1])).await;
    assert!(first.is_some() && second.is_some() && first != second);
    assert_eq!(token("/", json!(["GET", "a"])).await, second);
    assert_eq!(token("/", json!(["DIGEST", "a"])).await, second);
    assert_eq!(token("/pipeline", json!([["GET", "a"], ["PING"]])).await, second);
    let third = token("/multi-exec", json!([["GET", "a"], ["INCR", "a"]])).await;
    assert!(third != second && third != first);
    assert_ne!(token("/", json!(["DELEX", "a", "IFEQ", "2"])).await, third);
}
