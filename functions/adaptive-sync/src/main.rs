//! Serves the adaptive-sync queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shared::runtime::run::<adaptive_sync::AdaptiveSync>().await
}
