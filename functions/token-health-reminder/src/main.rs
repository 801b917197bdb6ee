//! Serves the token-health-reminder queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<token_health_reminder::TokenHealthReminder>().await
}
