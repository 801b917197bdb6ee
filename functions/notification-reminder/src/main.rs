//! Serves the notification-reminder queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<notification_reminder::NotificationReminder>().await
}
