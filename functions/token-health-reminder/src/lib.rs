//! Reminds users of tokens that end soon, an hour after they were notified at the earliest: a daily sweep, and one task per user.

use catchup::db::token_health::NoticeKind;
use catchup::payload;
use catchup::reminder::Reminders;
use shared::config::InvalidConfig;
use shared::job::{Context, Failure, Job, Outcome, Setup};

/// Sends reminders of tokens that end soon.
pub struct TokenHealthReminder(Reminders);

impl Job for TokenHealthReminder {
    type Payload = payload::TokenHealthReminder;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        Ok(Self(Reminders::new(setup, NoticeKind::TokenExpiringSoon)?))
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        self.0.run(payload.0, context, payload::TokenHealthReminder).await
    }
}
