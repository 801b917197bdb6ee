//! Configuration: read once, all problems reported together.
//!
//! A variable is a constant, the platform's or the product's; nothing else in the workspace reads the environment. Values are trimmed: a
//! secret that was stored with a trailing newline must not become a wrong password.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;

pub mod variables;

pub use variables::Variable;

/// What is wrong with a variable that is needed and missing.
const UNSET: &str = "is not set";

/// The environment of a process and the problems found in it so far.
#[derive(Default)]
pub struct Config {
    values: HashMap<String, String>,
    /// Variables whose values lost white space at an end.
    trimmed: Vec<String>,
    problems: Vec<Problem>,
}

/// Something could not be built; the [`Config`] has the reason among its problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidConfig;

/// One wrong or missing variable. Never carries the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable, or the variables of which one is needed.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
    /// The form that it should have.
    pub form: &'static str,
    /// Where to set it.
    pub place: &'static str,
}

impl Problem {
    /// The variable is missing, as opposed to one that has a value which cannot be used.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        self.what.starts_with(UNSET)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: expected {}; set it in {}", self.name, self.what, self.form, self.place)
    }
}

impl Config {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    pub fn from_process() -> Self {
        Self::from_pairs(std::env::vars())
    }

    /// An environment made by hand.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let (mut values, mut trimmed) = (HashMap::new(), Vec::new());
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            let kept = value.trim();
            if kept.is_empty() {
                continue;
            }
            if kept.len() < value.len() {
                trimmed.push(name.clone());
            }
            values.insert(name, kept.to_owned());
        }
        Self { values, trimmed, problems: Vec::new() }
    }

    /// Whether a variable has a value of its own, which may be malformed.
    #[must_use]
    pub fn has(&self, variable: &Variable) -> bool {
        self.values.contains_key(variable.name)
    }

    /// Whether the value of a variable had white space at an end: it is not part of the value here, but may be for another program
    /// that reads the same secret.
    #[must_use]
    pub fn was_trimmed(&self, variable: &Variable) -> bool {
        self.trimmed.iter().any(|name| name == variable.name)
    }

    /// The variable, else its default; without both, a problem.
    pub fn required<T: FromStr>(&mut self, variable: &Variable) -> Result<T, InvalidConfig> {
        match self.optional(variable)? {
            Some(value) => Ok(value),
            None => Err(self.problem(variable, UNSET)),
        }
    }

    /// The variable, else its default, else nothing; a malformed value is a problem.
    pub fn optional<T: FromStr>(&mut self, variable: &Variable) -> Result<Option<T>, InvalidConfig> {
        match self.text(variable).map(str::parse) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(self.problem(variable, "is malformed")),
        }
    }

    /// The variable as a secret; without it, a problem.
    pub fn secret(&mut self, variable: &Variable) -> Result<SecretString, InvalidConfig> {
        self.required::<String>(variable).map(SecretString::from)
    }

    /// Records that the value of a variable cannot be used.
    pub fn problem(&mut self, variable: &Variable, what: impl Into<String>) -> InvalidConfig {
        self.problems.push(Problem {
            name: variable.name.to_owned(),
            what: what.into(),
            form: variable.form,
            place: variable.place,
        });
        InvalidConfig
    }

    /// All problems found so far, each once.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        for problem in &self.problems {
            if !problems.contains(problem) {
                problems.push(problem.clone());
            }
        }
        problems
    }

    fn text(&self, variable: &Variable) -> Option<&str> {
        self.values.get(variable.name).map(String::as_str).or(variable.default)
    }
}

#[cfg(test)]
mod tests {
    use super::variables::{PORT, UPSTASH_REDIS_REST_TOKEN};
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_secret_loses_its_trailing_newline() {
        let mut config = Config::from_pairs([("UPSTASH_REDIS_REST_TOKEN", "abc\n")]);
        assert_eq!(config.secret(&UPSTASH_REDIS_REST_TOKEN).unwrap().expose_secret(), "abc");
        assert!(config.was_trimmed(&UPSTASH_REDIS_REST_TOKEN) && !config.was_trimmed(&PORT));
    }

    #[test]
    fn problems_are_collected_and_never_show_a_value() {
        let mut config = Config::from_pairs([("PORT", "hunter2")]);
        assert_eq!(config.required::<u16>(&PORT), Err(InvalidConfig));
        assert!(config.secret(&UPSTASH_REDIS_REST_TOKEN).is_err());
        assert!(config.secret(&UPSTASH_REDIS_REST_TOKEN).is_err());
        let text = config.problems().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(text.iter().all(|line| !line.contains("hunter2")), "{text:?}");
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let mut config = Config::from_pairs([("PORT", " ")]);
        assert_eq!(config.required::<u16>(&PORT), Ok(8080));
    }
}
