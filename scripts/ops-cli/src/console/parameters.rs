//! Parameters of an address, and fields of a form.

use chrono::{DateTime, Utc};
use shared::queue::Queue;
use url::form_urlencoded;
use uuid::Uuid;

use super::refusal::Refusal;
use crate::operations::dead_letters::Selection;
use crate::{moment, names};

/// What was given, in its order.
pub(super) struct Parameters {
    given: Vec<(String, String)>,
    /// Of a form: the e-mail address of who sent it, if Identity-Aware Proxy said it.
    pub(super) sender: Option<String>,
}

impl Parameters {
    /// Of the part of an address after `?`.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self::of(query.unwrap_or_default().as_bytes())
    }

    /// Of a form's body, or of the part of an address after `?`.
    pub(super) fn of(text: &[u8]) -> Self {
        Self { given: form_urlencoded::parse(text).into_owned().collect(), sender: None }
    }

    /// Says who sent the form.
    pub(super) fn sent_by(self, sender: Option<String>) -> Self {
        Self { sender, ..self }
    }

    /// What is not given, or empty, is not there.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, Refusal> {
        Ok(self.all(name)?.into_iter().next())
    }

    pub(super) fn all(&self, name: &str) -> Result<Vec<&str>, Refusal> {
        let values = self.given.iter().filter(|(given, _)| given == name).map(|(_, value)| value.trim());
        values.filter(|value| !value.is_empty()).map(checked).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    pub(super) fn queue(&self) -> Result<Option<Queue>, Refusal> {
        self.get("queue")?.map(|name| names::queue(name).map_err(Refusal::bad_request)).transpose()
    }

    pub(super) fn user(&self) -> Result<Option<Uuid>, Refusal> {
        let parse =
            |user: &str| user.parse().map_err(|_| Refusal::BadRequest("A user's id is a UUID.".to_owned()));
        self.get("user")?.map(parse).transpose()
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Refusal> {
        self.get(name)?.map(|time| moment::parse(time).map_err(Refusal::BadRequest)).transpose()
    }

    pub(super) fn selection(&self) -> Result<Selection, Refusal> {
        Ok(Selection {
            queue: self.queue()?,
            reason: self.get("reason")?.map(str::to_owned),
            fingerprint: self.get("fingerprint")?.map(str::to_owned),
            user: self.user()?,
            since: self.time("since")?,
            until: self.time("until")?,
        })
    }
}

/// No text in the database has a zero byte.
pub(super) fn checked(value: &str) -> Result<&str, Refusal> {
    if value.contains('\0') {
        Err(Refusal::BadRequest("A zero byte is no text.".to_owned()))
    } else {
        Ok(value)
    }
}

/// An address with these parameters.
pub(super) fn address(path: &str, parameters: &[(&str, String)]) -> String {
    if parameters.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{path}?{query}")
}
