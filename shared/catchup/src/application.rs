//! Where people use the application: what links in messages lead to. These pages open for people; the application's routes for
//! OAuth answer JSON to who is logged in, and cannot be mailed.

use shared::config::{Config, InvalidConfig, Variable};
use url::Url;

use crate::variables;

/// The application's pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    suggestions: String,
    preferences: String,
}

impl Application {
    /// The application at `APP_BASE_URL`, unless its pages are configured.
    pub fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let base = config.required::<Url>(&variables::APP_BASE_URL);
        let suggestions = page(config, &variables::APP_SUGGESTIONS_URL);
        let preferences = page(config, &variables::APP_PREFERENCES_URL);
        let base = base?;
        // Without a slash at its end.
        let base = base.as_str().trim_end_matches('/');
        let or = |page: Option<Url>, path: &str| page.map_or_else(|| format!("{base}{path}"), String::from);
        Ok(Self {
            suggestions: or(suggestions?, "/app"),
            preferences: or(preferences?, "/app?view=preferences"),
        })
    }

    /// Its page of suggestions.
    #[must_use]
    pub fn suggestions(&self) -> &str {
        &self.suggestions
    }

    /// Where a person connects Google, for the first time or again, and chooses what to be told.
    #[must_use]
    pub fn preferences(&self) -> &str {
        &self.preferences
    }
}

fn page(config: &mut Config, variable: &Variable) -> Result<Option<Url>, InvalidConfig> {
    let url = config.optional::<Url>(variable)?;
    if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "https" | "http")) {
        return Err(config.problem(variable, "is no web page"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_that_open_for_people_and_can_be_configured() {
        let base = ("APP_BASE_URL", "https://app.catchup.example/");
        let application = Application::from_config(&mut Config::from_pairs([base])).unwrap();
        assert_eq!(application.suggestions(), "https://app.catchup.example/app");
        assert_eq!(application.preferences(), "https://app.catchup.example/app?view=preferences");
        let configured = [
            base,
            ("APP_SUGGESTIONS_URL", "https://catchup.example/ideas"),
            ("APP_PREFERENCES_URL", "https://catchup.example/settings"),
        ];
        let application = Application::from_config(&mut Config::from_pairs(configured)).unwrap();
        assert_eq!(application.suggestions(), "https://catchup.example/ideas");
        assert_eq!(application.preferences(), "https://catchup.example/settings");
    }

    #[test]
    fn pages_that_are_none_are_reported_together() {
        let mut config = Config::from_pairs([
            ("APP_BASE_URL", "nowhere"),
            ("APP_SUGGESTIONS_URL", "mailto:a@b.example"),
            ("APP_PREFERENCES_URL", "/app"),
        ]);
        assert!(Application::from_config(&mut config).is_err());
        let names: Vec<_> = config.problems().into_iter().map(|problem| problem.name).collect();
        assert_eq!(names, ["APP_BASE_URL", "APP_SUGGESTIONS_URL", "APP_PREFERENCES_URL"]);
    }
}
