//! Serves the adaptive-sync queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<adaptive_sync::AdaptiveSync>().await
}
