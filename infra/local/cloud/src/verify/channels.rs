//! Push channels: those that Google has open are those that the database knows, one per user who needs one.

use google_stand_in::Integration;

use super::{Check, Health};
use crate::seed::Start;

impl Check<'_> {
    /// Whether the user has a channel in the end.
    pub(super) fn has_channel(&self) -> bool {
        self.is_watchable() || self.before.channel.is_some()
    }

    /// Whether a channel was opened for the user while every schedule ran once; a sync of the calendars follows.
    pub(super) fn has_new_channel(&self) -> bool {
        self.is_watchable() && self.before.channel.as_ref().is_none_or(|channel| channel.condition.is_due())
    }

    /// Whether a channel can be opened for the user: there is a calendar, and Google may be asked.
    fn is_watchable(&self) -> bool {
        let calendars = self.world.calendars(self.user.id).unwrap_or_default();
        let grant = self.user.grant(Integration::GoogleCalendar);
        calendars.iter().any(|calendar| calendar.primary)
            && grant.is_some_and(|grant| Health::of(grant, self.now) != Health::Revoked)
            && self.before.start != Start::BreakerOpen
    }

    /// After every sweep ran once.
    pub(super) async fn channels(&mut self) -> anyhow::Result<()> {
        let before = self.before.channel.as_ref();
        let is_kept = before.is_some_and(|channel| !self.is_watchable() || !channel.condition.is_due());
        let open = self.open_channels().await?;
        self.same("number of push channels at Google", open.len(), usize::from(self.has_channel()));
        if let (Some(before), Some(open)) = (before, open.first()) {
            let what = format!("push channel ({:?}) kept", before.condition);
            self.same(what, before.id == *open, is_kept);
        }
        Ok(())
    }

    /// The user's channels at Google, which the database must know, all of them and no other.
    pub(super) async fn open_channels(&mut self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT channel_id, resource_id, token FROM calendar_webhook_subscriptions
             WHERE user_id = $1 AND expiration > $2",
        )
        .bind(self.user.id)
        .bind(self.now.naive_utc())
        .fetch_all(&mut *self.db)
        .await?;
        let open = self.world.channels(self.user.id)?;
        let told = open
            .iter()
            .map(|channel| (&channel.id, &channel.resource_id, channel.token.as_ref()))
            .collect::<Vec<_>>();
        let known = rows.iter().map(|(id, resource, token)| (id, resource, Some(token))).collect::<Vec<_>>();
        self.same("calendar_webhook_subscriptions and Google's channels", known, told);
        let orphaned: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM jobs.push_channels WHERE user_id = $1 AND state <> 'open'",
        )
        .bind(self.user.id)
        .fetch_one(&mut *self.db)
        .await?;
        self.same("number of orphaned push channels", orphaned, 0);
        Ok(open.into_iter().map(|channel| channel.id).collect())
    }
}
