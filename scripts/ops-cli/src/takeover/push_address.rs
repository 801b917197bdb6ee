//! Where Google sends push notifications: any other address than the receiver's answers 200 with a web page, and
//! notifications vanish in silence.

use std::time::Duration;

use catchup::variables::CALENDAR_WEBHOOK_URL;
use serde_json::Value;

use super::findings::Findings;
use crate::database::wait_for;
use crate::settings::variable;

const TIMEOUT: Duration = Duration::from_secs(10);
/// What the receiver answers to whom it does not know, with an empty body.
const UNKNOWN_CALLER: u16 = 404;

pub(super) fn check(service: &Value, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(address) = variable(service, CALENDAR_WEBHOOK_URL.name) else { return Ok(()) };
    wait_for(async {
        ask(address, findings).await;
        Ok(())
    })
}

/// Asks the address as a caller without a channel does.
pub(crate) async fn ask(address: &str, findings: &mut Findings) {
    let http = shared::http::client(TIMEOUT, TIMEOUT);
    let (is_right, answer) = match http.post(address).send().await {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.bytes().await.unwrap_or_default();
            (status == UNKNOWN_CALLER && body.is_empty(), format!("{status} with {} bytes", body.len()))
        }
        Err(error) => (false, format!("nothing ({})", error.without_url())),
    };
    findings.expect(
        "push address",
        is_right,
        format!(
            "{address} answers {answer}; the receiver answers {UNKNOWN_CALLER} with 0 bytes to unknown callers"
        ),
    );
}
