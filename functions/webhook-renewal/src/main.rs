//! Serves the webhook-renewal queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<webhook_renewal::WebhookRenewal>().await
}
