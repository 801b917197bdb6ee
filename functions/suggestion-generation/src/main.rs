//! Serves the suggestion-generation queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shared::service::run::<suggestion_generation::SuggestionGeneration>().await
}
