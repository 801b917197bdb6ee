//! The parameters of a call, read strictly: what is not what it should be is refused as Google refuses it.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::refusal::Refusal;

/// Query parameters in the order sent; names may repeat.
#[derive(Debug, Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, sorted: their order means nothing.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        let mut texts: Vec<_> =
            self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        texts.sort_unstable();
        texts
    }

    pub(crate) fn value<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| Refusal::invalid(name, format!("Invalid value for {name}: {text}")))
            })
            .transpose()
    }

    /// `true` or `false`; false when absent. Python writes them with a capital.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false" | "False") => Ok(false),
            Some("true" | "True") => Ok(true),
            Some(other) => Err(Refusal::invalid(name, format!("Invalid boolean value: '{other}'."))),
        }
    }

    /// An RFC 3339 time with its offset.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<DateTime<Utc>>, Refusal> {
        self.text(name)
            .map(|text| match DateTime::parse_from_rfc3339(text) {
                Ok(time) => Ok(time.to_utc()),
                Err(_) => Err(Refusal::invalid(name, "Bad Request")),
            })
            .transpose()
    }
}
