//! Serves the google-contacts-sync queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<google_contacts_sync::GoogleContactsSync>().await
}
