//! Reminds users of tokens that have not worked for a week: a daily sweep, and one task per user.

use catchup::db::token_health::NoticeKind;
use catchup::payload;
use catchup::reminder::Reminders;
use shared::config::InvalidConfig;
use shared::job::{Context, Failure, Job, Outcome, Setup};

/// Sends reminders of tokens that do not work.
pub struct NotificationReminder(Reminders);

impl Job for NotificationReminder {
    type Payload = payload::NotificationReminder;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        Ok(Self(Reminders::new(setup, NoticeKind::TokenInvalid)?))
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        self.0.run(payload.0, context, payload::NotificationReminder).await
    }
}
