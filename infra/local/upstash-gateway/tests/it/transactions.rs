//! `/multi-exec`.

use serde_json::json;

use crate::kit::Gateway;

#[tokio::test]
async fn transaction_returns_one_result_per_command() {
    let gateway = Gateway::start().await;
    let commands = json!([["SET", "key1", "valuex"], ["INCR", "key1"], ["GET", "key1"]]);
    let answer = gateway.post("/multi-exec", &commands).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!([
            { "result": "OK" },
            { "error": "ERR value is not an integer or out of range" },
            { "result": "valuex" },
        ])
    );
}

#[tokio::test]
async fn discarded_transaction_is_one_error_and_changes_nothing() {
    let gateway = Gateway::start().await;
    for bad in
        [json!(["NOSUCH", "x"]), json!(["GET"]), json!(["BLPOP", "l", 0]), json!(["DELEX", "a", "IFEQ"])]
    {
        let answer = gateway.post("/multi-exec", &json!([["SET", "touched", 1], bad])).await;
        let body = answer.json();
        assert_eq!(answer.status, 400, "{bad}");
        assert!(body["error"].as_str().is_some_and(|text| text.starts_with("ERR ")), "{bad}: {body}");
        gateway.expect(&[(json!(["EXISTS", "touched"]), json!(0))]).await;
    }
}

#[tokio::test]
async fn transactions_of_many_clients_never_mix() {
    const CLIENTS: usize = 16;
    let gateway = Gateway::start().await;
    let commands = json!([["INCR", "n"], ["INCR", "n"], ["INCR", "n"], ["INCR", "n"]]);
    let answers =
        futures_util::future::join_all((0..CLIENTS).map(|_| gateway.post("/multi-exec", &commands))).await;
    let mut starts: Vec<_> = answers
        .iter()
        .map(|answer| {
            let results: Vec<_> = answer
                .json()
                .as_array()
                .expect("items")
                .iter()
                .map(|item| item["result"].as_u64().expect("a number"))
                .collect();
            assert!(results.windows(2).all(|pair| pair[1] == pair[0] + 1), "{results:?}");
            results[0]
        })
        .collect();
    starts.sort_unstable();
    assert_eq!(starts, (0..CLIENTS).map(|n| 1 + 4 * n as u64).collect::<Vec<_>>());
}
