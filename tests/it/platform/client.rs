//! `shared::redis`.

use std::time::Duration;

use secrecy::SecretString;
use shared::redis::{Command, Error, Purpose, Redis, Timeouts, Value};
use shared::telemetry::Counter;
use tests::until_some;
use tokio::net::TcpListener;

use super::faulty::{Faulty, Reply};
use super::stack::{Stack, TOKEN, client, metered};

const HASTY: Timeouts = Timeouts {
    connect_timeout: Duration::from_millis(200),
    timeout: Duration::from_millis(200),
    failures: 3,
    open_for: Duration::from_millis(100),
};

fn ping() -> Command {
    Command::new("PING")
}

fn set(key: &str, value: &str) -> Command {
    Command::new("SET").arg(key).arg(value)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// What a server with these replies makes of one command, how many requests it got, and how many commands were billed.
async fn outcome(replies: impl IntoIterator<Item = Reply>) -> (Result<Value, Error>, usize, u64) {
    let server = Faulty::start(replies);
    let redis = client(&server.url, HASTY);
    let (result, meter) = metered(redis.run(Purpose::Cache, ping())).await;
    (result, server.requests(), meter.get(Counter::RedisCache))
}

#[tokio::test]
async fn values_of_every_kind_arrive() {
    let stack = Stack::start().await;
    let redis = stack.redis();
    let run = |command| redis.run(Purpose::Cache, command);
    let odd = "ünï\u{0}\"\\\n🙂";
    assert_eq!(run(Command::new("GET").arg("a")).await.unwrap(), Value::Nil);
    assert_eq!(run(set("a", odd)).await.unwrap(), text("OK"));
    assert_eq!(run(Command::new("GET").arg("a")).await.unwrap(), text(odd));
    assert_eq!(run(Command::new("STRLEN").arg("a")).await.unwrap(), Value::Int(13));
    assert_eq!(
        run(Command::new("MGET").args(["a", "b"])).await.unwrap(),
        Value::List(vec![text(odd), Value::Nil])
    );
}

#[tokio::test]
async fn each_command_of_a_pipeline_or_transaction_may_fail_alone() {
    let stack = Stack::start().await;
    let redis = stack.redis();
    let commands = || vec![set("a", "x"), Command::new("INCR").arg("a"), Command::new("GET").arg("a")];
    for answers in [
        redis.pipeline(Purpose::Cache, commands()).await.unwrap(),
        redis.transaction(Purpose::Cache, commands()).await.unwrap(),
    ] {
        let [Ok(ok), Err(refused), Ok(value)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!((ok, value), (&text("OK"), &text("x")));
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
        assert!(!refused.is_unavailable());
    }
}

#[tokio::test]
async fn a_transaction_with_an_unknown_command_is_refused_as_a_whole() {
    let stack = Stack::start().await;
    let commands = vec![set("a", "x"), Command::new("NONSENSE").arg("secret")];
    let error = stack.redis().transaction(Purpose::Cache, commands).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    assert_eq!(stack.ask(["GET", "a"]).await, Value::Nil);
}

#[tokio::test]
async fn nothing_is_sent_for_no_commands() {
    let server = Faulty::start([Reply::Lost]);
    assert!(client(&server.url, HASTY).pipeline(Purpose::Cache, vec![]).await.unwrap().is_empty());
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn commands_are_counted_by_purpose_as_they_are_billed() {
    let stack = Stack::start().await;
    let redis = stack.redis();
    let work = metered(async {
        redis.run(Purpose::Idempotency, ping()).await.unwrap();
        redis.pipeline(Purpose::Cache, vec![ping(), ping(), ping()]).await.unwrap();
        redis.transaction(Purpose::RateLimit, vec![ping(), ping()]).await.unwrap();
    });
    let (((), meter), bill) = stack.billed(work).await;
    let counters = [Counter::RedisIdempotency, Counter::RedisCache, Counter::RedisRateLimit];
    assert_eq!(counters.map(|counter| meter.get(counter)), [1, 3, 2]);
    assert_eq!(bill.billed, 6);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_once_more_and_both_are_counted() {
    let (result, requests, billed) = outcome([Reply::Lost, Reply::ok(r#"{"result":"PONG"}"#)]).await;
    assert_eq!(result.unwrap(), text("PONG"));
    assert_eq!((requests, billed), (2, 2));
}

#[tokio::test]
async fn an_answer_lost_twice_is_a_failure() {
    let (result, requests, billed) = outcome([Reply::Lost]).await;
    assert!(matches!(result, Err(Error::Broken(_))), "{result:?}");
    assert_eq!((requests, billed), (2, 2));
}

#[tokio::test]
async fn what_reached_no_server_is_not_counted() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let redis = client(&format!("http://{closed}").parse().unwrap(), HASTY);
    let (result, meter) = metered(redis.run(Purpose::Cache, ping())).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    assert_eq!(meter.get(Counter::RedisCache), 0);
}

#[tokio::test]
async fn a_slow_server_is_not_asked_again() {
    let (result, requests, billed) = outcome([Reply::Silence]).await;
    assert!(matches!(result, Err(Error::Timeout)), "{result:?}");
    assert_eq!((requests, billed), (1, 1));
}

#[tokio::test]
async fn a_command_that_is_cancelled_is_counted() {
    let server = Faulty::start([Reply::Silence]);
    let redis = client(&server.url, Timeouts::default());
    let ((), meter) = metered(async {
        tokio::select! {
            result = redis.run(Purpose::Cache, ping()) => panic!("{result:?}"),
            () = until_some(async || (server.requests() == 1).then_some(())) => {}
        }
    })
    .await;
    assert_eq!(meter.get(Counter::RedisCache), 1);
}

#[tokio::test]
async fn rubbish_is_called_rubbish() {
    for body in ["", "<html>", "{}", "[]", r#"{"result":{}}"#, r#"{"result":1.5}"#, "{\"result\":\"\u{1}"] {
        let (result, requests, _) = outcome([Reply::ok(body)]).await;
        assert!(matches!(result, Err(Error::Garbage)), "{body}: {result:?}");
        assert_eq!(requests, 1, "{body}");
    }
    let (result, ..) = outcome([Reply::Answer(200, b"{\"result\":\"\xff\"}".to_vec())]).await;
    assert!(matches!(result, Err(Error::Garbage)), "{result:?}");
}

#[tokio::test]
async fn a_pipeline_must_be_answered_in_full() {
    for body in ["[]", r#"[{"result":1}]"#, r#"[{"result":1},{"result":1},{"result":1}]"#, r#"{"result":1}"#]
    {
        let server = Faulty::start([Reply::ok(body)]);
        let result = client(&server.url, HASTY).pipeline(Purpose::Cache, vec![ping(), ping()]).await;
        assert!(matches!(result, Err(Error::Garbage)), "{body}: {result:?}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let body = format!(r#"{{"result":"{}"}}"#, "a".repeat(5 << 20));
    let (result, ..) = outcome([Reply::ok(&body)]).await;
    assert!(matches!(result, Err(Error::TooLarge)), "{result:?}");
}

#[tokio::test]
async fn statuses_are_classified() {
    let refusal = r#"{"error":"ERR wrong number of arguments"}"#;
    let (result, ..) = outcome([Reply::Answer(400, refusal.into())]).await;
    assert!(
        matches!(&result, Err(Error::Refused(text)) if text == "ERR wrong number of arguments"),
        "{result:?}"
    );
    let (result, ..) = outcome([Reply::Answer(400, b"Bad Request".to_vec())]).await;
    assert!(matches!(result, Err(Error::Garbage)), "{result:?}");
    for status in [302, 404, 429, 500, 503] {
        let (result, requests, _) = outcome([Reply::Answer(status, vec![])]).await;
        assert!(matches!(result, Err(Error::Status(found)) if found == status), "{result:?}");
        assert_eq!(requests, 1);
    }
}

#[tokio::test]
async fn a_wrong_token_is_said_so_without_showing_it() {
    let stack = Stack::start().await;
    let redis = Redis::new(stack.url(), &SecretString::from("wrong-token"), HASTY).unwrap();
    let error = redis.run(Purpose::Cache, set("key", "value")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error:?}");
    let shown = format!("{redis:?} {error:?} {error} {:?}", set("key", "value"));
    for secret in ["wrong-token", TOKEN, "value"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn the_circuit_breaker_opens_probes_once_per_period_and_closes_when_redis_is_back() {
    let server = Faulty::start([Reply::Answer(503, vec![])]);
    let redis = client(&server.url, Timeouts { open_for: Duration::from_hours(1), ..HASTY });
    for _ in 0..HASTY.failures {
        assert!(matches!(redis.run(Purpose::Cache, ping()).await, Err(Error::Status(503))));
    }
    let (result, meter) = metered(redis.run(Purpose::Cache, ping())).await;
    assert!(matches!(result, Err(Error::CircuitOpen)), "{result:?}");
    assert_eq!(meter.get(Counter::RedisCache), 0);
    assert_eq!(server.requests(), HASTY.failures as usize);

    let redis = client(&server.url, HASTY);
    for _ in 0..HASTY.failures {
        assert!(redis.run(Purpose::Cache, ping()).await.is_err());
    }
    server.henceforth(Reply::ok(r#"{"result":"PONG"}"#));
    until_some(async || redis.run(Purpose::Cache, ping()).await.ok()).await;
    assert!(redis.run(Purpose::Cache, ping()).await.is_ok(), "closed after one good probe");
}
