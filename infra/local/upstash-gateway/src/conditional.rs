//! `SET … IFEQ|IFNE|IFDEQ|IFDNE`, `DELEX` and `DIGEST` on a server that lacks them.
//!
//! Semantics of Redis 8.4: a missing key meets `IFNE` and `IFDNE` for `SET`; `DELEX` of a missing key is 0; with a
//! condition the key must hold a string; `GET` returns the old value whether or not the condition was met. The digest is
//! XXH3 (64 bit) as 16 hexadecimal digits.
//!
//! The conditional writes become one script each, so that they are atomic and work inside a transaction. `DIGEST`
//! becomes a `GET` whose reply is hashed here.

use crate::backend::Wire;
use crate::command::Command;
use crate::reply::Rule;

const SCRIPT: &str = include_str!("lua/conditional.lua");
/// The same with the digest in front, which only two of the conditions need.
const SCRIPT_WITH_DIGEST: &str = concat!(include_str!("lua/xxh3.lua"), include_str!("lua/conditional.lua"));

const DIGEST_DIGITS: usize = 16;

/// What to send instead and what to do with the reply; `Err` is the message for a command that makes no sense.
pub(crate) fn emulate(name: &str, command: Command) -> Result<(Wire, Rule), String> {
    match name {
        "SET" => set(command),
        "DELEX" => delex(&command),
        "DIGEST" => match command.args() {
            [key] => Ok((vec![b"GET".to_vec(), key.clone()], Rule::Digest)),
            _ => Err(wrong_number("digest")),
        },
        _ => Ok((command.into_parts(), Rule::AsIs)),
    }
}

/// XXH3 of a value as Redis writes it.
pub(crate) fn digest(value: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(value))
}

fn set(command: Command) -> Result<(Wire, Rule), String> {
    let [key, value, options @ ..] = command.args() else {
        return Ok((command.into_parts(), Rule::AsIs));
    };
    let options = SetOptions::read(options);
    let Some((condition, operand)) = options.condition else {
        // Without a condition of ours all of it is Redis' business, mistakes included.
        return Ok((command.into_parts(), Rule::AsIs));
    };
    if options.malformed {
        return Err("ERR syntax error".into());
    }
    options.check_expiry()?;
    let action = if options.get { "SETGET" } else { "SET" };
    let rest = std::iter::once(value.as_slice()).chain(options.passed_on);
    Ok((script(key, condition, operand, action, rest)?, Rule::AsIs))
}

fn delex(command: &Command) -> Result<(Wire, Rule), String> {
    match command.args() {
        [key] => Ok((vec![b"DEL".to_vec(), key.clone()], Rule::AsIs)),
        [key, condition, operand] => {
            let condition = Condition::read(condition).ok_or("ERR syntax error")?;
            Ok((script(key, condition, operand, "DEL", std::iter::empty())?, Rule::AsIs))
        }
        _ => Err(wrong_number("delex")),
    }
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    Equal,
    NotEqual,
    DigestEqual,
    DigestNotEqual,
}

impl Condition {
    fn read(word: &[u8]) -> Option<Self> {
        match word.to_ascii_uppercase().as_slice() {
            b"IFEQ" => Some(Self::Equal),
            b"IFNE" => Some(Self::NotEqual),
            b"IFDEQ" => Some(Self::DigestEqual),
            b"IFDNE" => Some(Self::DigestNotEqual),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Equal => "IFEQ",
            Self::NotEqual => "IFNE",
            Self::DigestEqual => "IFDEQ",
            Self::DigestNotEqual => "IFDNE",
        }
    }
}

fn script<'a>(
    key: &[u8],
    condition: Condition,
    operand: &[u8],
    action: &str,
    rest: impl Iterator<Item = &'a [u8]>,
) -> Result<Wire, String> {
    let (text, operand) = match condition {
        Condition::Equal | Condition::NotEqual => (SCRIPT, operand.to_vec()),
        Condition::DigestEqual | Condition::DigestNotEqual => {
            if operand.len() != DIGEST_DIGITS || !operand.iter().all(u8::is_ascii_hexdigit) {
                return Err(format!("ERR a digest must be exactly {DIGEST_DIGITS} hexadecimal characters"));
            }
            (SCRIPT_WITH_DIGEST, operand.to_ascii_lowercase())
        }
    };
    let fixed =
        [b"EVAL", text.as_bytes(), b"1", key, condition.name().as_bytes(), &operand, action.as_bytes()];
    Ok(fixed.into_iter().map(<[u8]>::to_vec).chain(rest.map(<[u8]>::to_vec)).collect())
}

/// The options of a `SET`, as far as they concern its condition.
#[derive(Default)]
struct SetOptions<'a> {
    condition: Option<(Condition, &'a [u8])>,
    get: bool,
    expiry: Option<&'a [u8]>,
    /// What the `SET` inside the script gets.
    passed_on: Vec<&'a [u8]>,
    malformed: bool,
}

impl<'a> SetOptions<'a> {
    fn read(words: &'a [Vec<u8>]) -> Self {
        let mut options = Self::default();
        let mut lifetimes = 0;
        let mut words = words.iter().map(Vec::as_slice);
        while let Some(word) = words.next() {
            if let Some(condition) = Condition::read(word) {
                options.malformed |= options.condition.is_some();
                match words.next() {
                    Some(operand) => options.condition = Some((condition, operand)),
                    None => options.malformed = true,
                }
                continue;
            }
            match word.to_ascii_uppercase().as_slice() {
                b"GET" => options.get = true,
                b"KEEPTTL" => {
                    lifetimes += 1;
                    options.passed_on.push(word);
                }
                b"EX" | b"PX" | b"EXAT" | b"PXAT" => {
                    lifetimes += 1;
                    options.expiry = words.next();
                    options.malformed |= options.expiry.is_none();
                    options.passed_on.push(word);
                    options.passed_on.extend(options.expiry);
                }
                // NX and XX among them, which cannot be combined with a condition.
                _ => options.malformed = true,
            }
        }
        options.malformed |= lifetimes > 1;
        options
    }

    /// Redis looks at the expiry before the condition, so a wrong one is an error even where nothing would be set.
    fn check_expiry(&self) -> Result<(), String> {
        let Some(expiry) = self.expiry else { return Ok(()) };
        match std::str::from_utf8(expiry).ok().and_then(|text| text.parse::<i64>().ok()) {
            Some(1..) => Ok(()),
            Some(_) => Err("ERR invalid expire time in 'set' command".into()),
            None => Err("ERR value is not an integer or out of range".into()),
        }
    }
}

fn wrong_number(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}
