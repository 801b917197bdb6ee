//! Serves the webhook-health-check queue.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::runtime::run::<webhook_health_check::WebhookHealthCheck>().await
}
