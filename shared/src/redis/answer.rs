//! The replies of Redis.

use serde::Deserialize;

use super::Error;

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing there, or a condition that did not hold.
    Nil,
    /// An integer.
    Int(i64),
    /// A string; `OK` is one, too.
    Text(String),
    /// Several values.
    List(Vec<Value>),
}

/// One command's answer on the wire.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum WireReply {
    Result { result: Value },
    Error { error: String },
}

impl From<WireReply> for Result<Value, Error> {
    fn from(answer: WireReply) -> Self {
        match answer {
            WireReply::Result { result } => Ok(result),
            WireReply::Error { error } => Err(Error::refused(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &Value) {
        match serde_json::from_str(json).unwrap() {
            WireReply::Result { result } => assert_eq!(&result, expected),
            WireReply::Error { error } => panic!("{error}"),
        }
    }

    #[test]
    fn every_kind_of_result_is_read() {
        check(r#"{"result":null}"#, &Value::Nil);
        check(r#"{"result":-7}"#, &Value::Int(-7));
        check(r#"{"result":"7"}"#, &Value::Text("7".into()));
        check(
            r#"{"result":["0",[],[null]]}"#,
            &Value::List(vec![Value::Text("0".into()), Value::List(vec![]), Value::List(vec![Value::Nil])]),
        );
    }

    #[test]
    fn what_is_no_answer_is_not_read_as_nothing() {
        for rubbish in ["{}", "null", "[]", r#"{"result":{"a":1}}"#, r#"{"results":null}"#, "<html>"] {
            assert!(serde_json::from_str::<WireReply>(rubbish).is_err(), "{rubbish}");
        }
    }
}
