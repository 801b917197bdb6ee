//! Serves the suggestion-regeneration queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shared::service::run::<suggestion_regeneration::SuggestionRegeneration>().await
}
