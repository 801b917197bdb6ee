//! Serves the token-refresh queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<token_refresh::TokenRefresh>().await
}
