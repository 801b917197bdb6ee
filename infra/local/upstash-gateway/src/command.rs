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
/// no digit is lost. `None` for null, arrays and objects, which Redis has no arguments for.
pub(crate) fn arguments(values: &[&RawValue]) -> Option<Vec<Vec<u8>>> {
    values.iter().map(|value| argument(value.get())).collect()
}

fn argument(json: &str) -> Option<Vec<u8>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(String::into_bytes),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(json.as_bytes().to_vec()),
        _ => None,
    }
}
