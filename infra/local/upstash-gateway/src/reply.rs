//! From Redis' replies to what goes to the client: JSON, JSON with base64, or RESP2.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::Value;

use crate::backend::error_text;
use crate::conditional;

/// The reply to one command: a value, or the text of an error.
pub(crate) type Reply = Result<Value, String>;

/// What has to happen to a reply because something other than the client's command was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    AsIs,
    /// A script was loaded under another name: answer with the one the client knows.
    Sha(String),
    /// The value was read in order to be hashed.
    Digest,
}

impl Rule {
    pub(crate) fn apply(self, value: Value) -> Reply {
        match (self, value) {
            (_, Value::ServerError(error)) => Err(error_text(&error)),
            (Self::Sha(sha), Value::BulkString(_)) => Ok(Value::BulkString(sha.into_bytes())),
            (Self::Digest, Value::BulkString(bytes)) => {
                Ok(Value::BulkString(conditional::digest(&bytes).into_bytes()))
            }
            (Self::AsIs | Self::Sha(_) | Self::Digest, value) => Ok(value),
        }
    }
}

/// How the client wants its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json(Strings),
    Resp2,
}

/// How strings are written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strings {
    /// As text; bytes that are none become replacement characters.
    Text,
    /// In base64, all but a plain `OK`.
    Base64,
}

/// Writes `{"result":…}` or `{"error":"…"}`.
pub(crate) fn write_json_item(out: &mut Vec<u8>, reply: &Reply, strings: Strings) {
    match reply {
        Ok(Value::Okay) => out.extend(br#"{"result":"OK"}"#),
        Ok(value) => {
            out.extend(br#"{"result":"#);
            write_json(out, value, strings);
            out.push(b'}');
        }
        Err(message) => {
            out.extend(br#"{"error":"#);
            write_text(out, message);
            out.push(b'}');
        }
    }
}

/// Writes `[{"result":…},…]`.
pub(crate) fn write_json_items(out: &mut Vec<u8>, replies: &[Reply], strings: Strings) {
    out.push(b'[');
    for (index, reply) in replies.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json_item(out, reply, strings);
    }
    out.push(b']');
}

fn write_json(out: &mut Vec<u8>, value: &Value, strings: Strings) {
    match value {
        Value::Nil => out.extend(b"null"),
        Value::Int(number) => out.extend(number.to_string().bytes()),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(out, item, strings);
            }
            out.push(b']');
        }
        // Inside an array even an OK is encoded: that is where the clients decode every string.
        other => match strings {
            Strings::Text => write_text(out, &String::from_utf8_lossy(&bytes(other))),
            Strings::Base64 => write_text(out, &STANDARD.encode(bytes(other))),
        },
    }
}

/// Writes a reply as Redis would have sent it over RESP2. Every nil is a null bulk string.
pub(crate) fn write_resp2(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Ok(value) => write_resp2_value(out, value),
        Err(message) => write_line(out, '-', message),
    }
}

fn write_resp2_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => write_line(out, '$', "-1"),
        Value::Int(number) => write_line(out, ':', &number.to_string()),
        Value::Okay => write_line(out, '+', "OK"),
        Value::SimpleString(text) => write_line(out, '+', text),
        Value::ServerError(error) => write_line(out, '-', &error_text(error)),
        Value::Array(items) => {
            write_line(out, '*', &items.len().to_string());
            for item in items {
                write_resp2_value(out, item);
            }
        }
        other => {
            let bytes = bytes(other);
            write_line(out, '$', &bytes.len().to_string());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
    }
}

/// The bytes of anything that is a string in RESP2; what RESP2 does not have is shown in some form, never lost.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes.clone(),
        Value::SimpleString(text) => text.clone().into_bytes(),
        Value::Okay => b"OK".to_vec(),
        Value::ServerError(error) => error_text(error).into_bytes(),
        other => format!("{other:?}").into_bytes(),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is always JSON, and a vector always takes it");
}

fn write_line(out: &mut Vec<u8>, kind: char, text: &str) {
    write!(out, "{kind}{text}\r\n").expect("a vector always takes more");
}
