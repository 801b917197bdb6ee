//! One Redis command as a list of byte strings, and how it is read from JSON.

use serde_json::value::RawValue;

/// A command's name and arguments; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    args: Vec<Vec<u8>>,
}

impl Command {
    /// `None` without even a name.
    pub(crate) fn new(args: Vec<Vec<u8>>) -> Option<Self> {
        (!args.is_empty()).then_some(Self { args })
    }

    /// The name in upper case; bytes that are no text become replacement characters.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&self.args[0]).to_uppercase()
    }

    /// What follows the name.
    pub(crate) fn args(&self) -> &[Vec<u8>] {
        &self.args[1..]
    }

    pub(crate) fn into_parts(self) -> Vec<Vec<u8>> {
        self.args
    }

    /// Whether the argument at `index` (0 = the first after the name) is this word, in any case.
    pub(crate) fn arg_is(&self, index: usize, word: &str) -> bool {
        self.args().get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Reads the arguments of one command. Strings are taken as they are; numbers and booleans as their JSON text, so that
/// no digit is lost. Null, arrays and objects are refused in Upstash's words.
pub(crate) fn arguments(values: &[&RawValue]) -> Result<Vec<Vec<u8>>, &'static str> {
    values.iter().map(|value| argument(value.get())).collect()
}

fn argument(json: &str) -> Result<Vec<u8>, &'static str> {
    match json.as_bytes().first() {
        // A lone surrogate is JSON, but no text.
        Some(b'"') => {
            serde_json::from_str(json).map(String::into_bytes).map_err(|_| "ERR failed to parse command")
        }
        Some(b'n') => Err("ERR null args are not supported"),
        Some(b'[' | b'{') | None => Err("ERR unsupported arg type"),
        Some(_) => Ok(json.as_bytes().to_vec()),
    }
}
