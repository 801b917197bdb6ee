//! Scripts, and the flag that Redis does not know.

use serde_json::json;
use sha1::{Digest, Sha1};

use crate::kit::Gateway;

const FLAGGED: &str = "#!lua flags=allow-key-locking\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])";
const PLAIN: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

fn sha(script: &str) -> String {
    Sha1::digest(script).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[tokio::test]
async fn a_script_with_upstashs_flag_runs_under_the_sha_the_client_computed() {
    let gateway = Gateway::start().await;
    for script in [FLAGGED, PLAIN] {
        let sha = sha(script);
        let missing = gateway.run(json!(["EVALSHA", sha, 1, "n", 1])).await;
        assert!(missing["error"].as_str().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{missing}");
        gateway
            .expect(&[
                (json!(["DEL", "n"]), json!(0)),
                (json!(["SCRIPT", "EXISTS", sha]), json!([0])),
                (json!(["EVAL", script, 1, "n", 5]), json!(5)),
                (json!(["EVALSHA", sha, 1, "n", 2]), json!(7)),
                (json!(["evalsha", sha.to_uppercase(), 1, "n", 2]), json!(9)),
                (json!(["SCRIPT", "EXISTS", sha, "0"]), json!([1, 0])),
                (json!(["SCRIPT", "FLUSH"]), json!("OK")),
                (json!(["SCRIPT", "EXISTS", sha]), json!([0])),
                (json!(["SCRIPT", "LOAD", script]), json!(sha)),
                (json!(["EVALSHA", sha, 1, "n", 1]), json!(10)),
                (json!(["DEL", "n"]), json!(1)),
            ])
            .await;
    }
}

#[tokio::test]
async fn flagged_scripts_work_inside_pipelines_and_transactions() {
    let gateway = Gateway::start().await;
    let sha = sha(FLAGGED);
    for (target, total) in [("/pipeline", 4), ("/multi-exec", 8)] {
        let commands =
            json!([["SCRIPT", "LOAD", FLAGGED], ["EVALSHA", sha, 1, "n", 3], ["EVAL", FLAGGED, 1, "n", 1]]);
        assert_eq!(
            gateway.post(target, &commands).await.json(),
            json!([{ "result": sha }, { "result": total - 1 }, { "result": total }]),
        );
    }
}

#[tokio::test]
async fn evalsha_client_that_falls_back_to_eval_survives_a_restart_of_redis() {
    let mut gateway = Gateway::start().await;
    gateway.expect(&[(json!(["EVAL", FLAGGED, 1, "n", 1]), json!(1))]).await;
    gateway.redis.kill();
    gateway.redis.restart().await;
    let missing = gateway.run(json!(["EVALSHA", sha(FLAGGED), 1, "n", 1])).await;
    assert!(missing["error"].as_str().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{missing}");
    gateway
        .expect(&[
            (json!(["EVAL", FLAGGED, 1, "n", 1]), json!(1)),
            (json!(["EVALSHA", sha(FLAGGED), 1, "n", 1]), json!(2)),
        ])
        .await;
}

#[tokio::test]
async fn read_only_scripts_and_functions_work() {
    let gateway = Gateway::start().await;
    let read = "#!lua flags=no-writes,allow-key-locking\nreturn redis.call('GET', KEYS[1])";
    let library =
        "#!lua name=lib\nredis.register_function('twice', function(keys, args) return 2 * args[1] end)";
    gateway
        .expect(&[
            (json!(["SET", "k", "v"]), json!("OK")),
            (json!(["EVAL_RO", read, 1, "k"]), json!("v")),
            (json!(["EVALSHA_RO", sha(read), 1, "k"]), json!("v")),
            (json!(["FUNCTION", "LOAD", library]), json!("lib")),
            (json!(["FCALL", "twice", 0, 21]), json!(42)),
        ])
        .await;
    let error = gateway.run(json!(["EVAL", "return redis.error_reply('MINE of my own')", 0])).await;
    assert_eq!(error, json!({ "error": "MINE of my own" }));
}
