//! Serves what vendors send of their own accord.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::serve(&webhooks::SERVICE).await
}
