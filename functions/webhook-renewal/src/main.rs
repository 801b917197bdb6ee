//! Serves the webhook-renewal queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    shared::service::run::<webhook_renewal::WebhookRenewal>().await
}
