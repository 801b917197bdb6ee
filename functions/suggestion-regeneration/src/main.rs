//! Serves the suggestion-regeneration queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<suggestion_regeneration::SuggestionRegeneration>().await
}
