//! Serves the batch-notifications queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shared::runtime::run::<batch_notifications::BatchNotifications>().await
}
