//! Where the functions are.

use url::Url;

use crate::config::{Config, InvalidConfig, variables};
use crate::http;
use crate::queue::Queue;

const PLACEHOLDER: &str = "{function}";

/// Addresses of the functions, made from `CLOUD_RUN_URL`.
#[derive(Debug, Clone)]
pub(crate) struct Targets(String);

impl Targets {
    pub(crate) fn from_config(config: &mut Config) -> Result<Self, InvalidConfig> {
        let pattern: String = config.required(&variables::CLOUD_RUN_URL)?;
        let sample = pattern.replace(PLACEHOLDER, "function");
        match sample.parse::<Url>() {
            Ok(url) if http::is_safe_for_credentials(&url) => {
                Ok(Self(pattern.trim_end_matches('/').to_owned()))
            }
            Ok(_) => Err(config.problem(&variables::CLOUD_RUN_URL, "would send credentials in the clear")),
            Err(_) => Err(config.problem(&variables::CLOUD_RUN_URL, "is malformed")),
        }
    }

    /// The audience of a function's callers.
    pub(crate) fn base(&self, queue: Queue) -> String {
        self.0.replace(PLACEHOLDER, queue.name())
    }

    pub(crate) fn job(&self, queue: Queue) -> String {
        format!("{}{}", self.base(queue), queue.path())
    }
}
