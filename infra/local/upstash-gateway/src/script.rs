//! Scripts that carry Upstash's flag `allow-key-locking`.
//!
//! Redis refuses flags it does not know, so the flag is taken out before the script is sent. That changes the script's
//! SHA-1, by which clients call it; so the client's SHA-1 is kept next to the real one and translated both ways. A
//! SHA-1 that is not known here goes to Redis as it is, whose `NOSCRIPT` makes the client send the text again: the same
//! thing that happens after a restart of Redis.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha1::{Digest, Sha1};

use crate::backend::Wire;
use crate::command::Command;
use crate::reply::Rule;

/// The flag, and where it stands: `#!lua flags=allow-key-locking,no-writes`.
const FLAG: &str = "allow-key-locking";
const FLAGS: &str = "flags=";

/// Translations held at a time. Beyond it all are forgotten; clients then send their scripts once more.
const CAPACITY: usize = 10_000;

/// The SHA-1 that Redis knows, by the one the client knows.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    real: Mutex<HashMap<String, String>>,
}

impl Scripts {
    /// What to send instead of a scripting command and what to do with the reply.
    pub(crate) fn translate(&self, name: &str, command: Command) -> (Wire, Rule) {
        let mut rule = Rule::AsIs;
        let load = name == "SCRIPT" && command.arg_is(0, "LOAD");
        let exists = name == "SCRIPT" && command.arg_is(0, "EXISTS");
        let mut parts = command.into_parts();
        match name {
            "EVAL" | "EVAL_RO" => {
                self.replace_text(parts.get_mut(1));
            }
            "SCRIPT" if load => {
                if let Some(sha) = self.replace_text(parts.get_mut(2)) {
                    rule = Rule::Sha(sha);
                }
            }
            "EVALSHA" | "EVALSHA_RO" => self.replace_shas(parts.iter_mut().skip(1).take(1)),
            "SCRIPT" if exists => self.replace_shas(parts.iter_mut().skip(2)),
            _ => {}
        }
        (parts, rule)
    }

    /// Takes the flag out, if it is there; the client's SHA-1 if it was.
    fn replace_text(&self, text: Option<&mut Vec<u8>>) -> Option<String> {
        let text = text?;
        let plain = without_flag(text)?;
        let client_sha = sha1_hex(text);
        let mut real = self.lock();
        if real.len() >= CAPACITY {
            real.clear();
        }
        real.insert(client_sha.clone(), sha1_hex(&plain));
        *text = plain;
        Some(client_sha)
    }

    fn replace_shas<'a>(&self, shas: impl Iterator<Item = &'a mut Vec<u8>>) {
        let real = self.lock();
        for sha in shas {
            let known = real.get(&String::from_utf8_lossy(sha).to_lowercase());
            if let Some(known) = known {
                *sha = known.clone().into_bytes();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.real.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The script without the flag; `None` if it has none. Line numbers stay as they are.
fn without_flag(script: &[u8]) -> Option<Vec<u8>> {
    let end = script.iter().position(|byte| *byte == b'\n').unwrap_or(script.len());
    let shebang = std::str::from_utf8(&script[..end]).ok()?;
    if !shebang.starts_with("#!") || !shebang.contains(FLAG) {
        return None;
    }
    let words = shebang.split_whitespace().filter_map(|word| match word.strip_prefix(FLAGS) {
        Some(flags) => {
            let kept: Vec<_> = flags.split(',').filter(|flag| *flag != FLAG).collect();
            (!kept.is_empty()).then(|| format!("{FLAGS}{}", kept.join(",")))
        }
        None => Some(word.to_owned()),
    });
    let shebang = words.collect::<Vec<_>>().join(" ");
    Some([shebang.as_bytes(), &script[end..]].concat())
}

fn sha1_hex(text: &[u8]) -> String {
    Sha1::digest(text).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::without_flag;

    #[track_caller]
    fn check(script: &str, expected: Option<&str>) {
        assert_eq!(without_flag(script.as_bytes()).as_deref(), expected.map(str::as_bytes), "{script}");
    }

    #[test]
    fn script_strips_only_the_flag_that_redis_does_not_know() {
        check("#!lua flags=allow-key-locking\nreturn 1", Some("#!lua\nreturn 1"));
        check("#!lua flags=allow-key-locking,no-writes\nreturn 1", Some("#!lua flags=no-writes\nreturn 1"));
        check("#!lua flags=no-writes,allow-key-locking\nreturn 1", Some("#!lua flags=no-writes\nreturn 1"));
        check("#!lua flags=allow-key-locking", Some("#!lua"));
        check("#!lua flags=no-writes\nreturn 'allow-key-locking'", None);
        check("return 'allow-key-locking'", None);
    }
}
