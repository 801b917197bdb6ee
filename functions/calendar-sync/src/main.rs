//! Serves the calendar-sync queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<calendar_sync::CalendarSync>().await
}
