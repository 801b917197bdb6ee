//! Pages of Google's lists.

use super::Error;

/// Some of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// How it continues.
    pub next: Next,
}

/// What comes after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Another page, by this token.
    Page(String),
    /// This was the last page; the next sync begins with this token.
    Sync(String),
}

impl<T> Page<T> {
    pub(super) fn of(
        items: Option<Vec<T>>,
        page_token: Option<String>,
        sync_token: Option<String>,
    ) -> Result<Self, Error> {
        Ok(Self { items: items.unwrap_or_default(), next: Next::of(page_token, sync_token)? })
    }
}

impl Next {
    /// Every list that is read here ends with a sync token. An answer without any token is no page of it: taken for the
    /// last one, it would pass for an empty list.
    pub(super) fn of(page_token: Option<String>, sync_token: Option<String>) -> Result<Self, Error> {
        match (page_token, sync_token) {
            (Some(token), _) => Ok(Self::Page(token)),
            (None, Some(token)) => Ok(Self::Sync(token)),
            (None, None) => {
                Err(Error::Garbage(serde::de::Error::custom("neither page token nor sync token")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_any_token_is_no_last_page() {
        let token = || Some("t".to_owned());
        assert_eq!(Next::of(token(), None).unwrap(), Next::Page("t".to_owned()));
        assert_eq!(Next::of(None, token()).unwrap(), Next::Sync("t".to_owned()));
        assert!(matches!(Next::of(None, None), Err(Error::Garbage(_))));
    }
}
