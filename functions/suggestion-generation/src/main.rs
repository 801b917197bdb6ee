//! Serves the suggestion-generation queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<suggestion_generation::SuggestionGeneration>().await
}
