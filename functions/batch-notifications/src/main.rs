//! Serves the batch-notifications queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<batch_notifications::BatchNotifications>().await
}
