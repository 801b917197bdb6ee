//! Serves the batch-notifications queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shared::service::run::<batch_notifications::BatchNotifications>().await
}
