//! That each due sync happened exactly once, and one after each new push channel, and what it left: metrics, schedule, breaker.

use chrono::{NaiveDateTime, TimeDelta};
use google_stand_in::Integration;
use sqlx::FromRow;

use super::Check;
use crate::seed::Start;

/// A calendar with a push channel is polled at this interval.
const WITH_CHANNEL: TimeDelta = TimeDelta::hours(12);
/// No run of all schedules takes longer.
const ONE_RUN: TimeDelta = TimeDelta::minutes(30);

#[derive(FromRow)]
struct ScheduleRow {
    last_sync_at: Option<NaiveDateTime>,
    next_sync_at: NaiveDateTime,
}

impl Check<'_> {
    pub(super) async fn syncs(&mut self) -> anyhow::Result<()> {
        for integration in Integration::ALL {
            self.metrics(integration).await?;
            self.schedule(integration).await?;
            self.breaker(integration).await?;
        }
        Ok(())
    }

    async fn metrics(&mut self, integration: Integration) -> anyhow::Result<()> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT sync_type, result FROM sync_metrics
             WHERE user_id = $1 AND integration_type = $2 AND result <> 'skipped'",
        )
        .bind(self.user.id)
        .bind(integration.provider())
        .fetch_all(&mut *self.db)
        .await?;
        let is_calendar = integration == Integration::GoogleCalendar;
        let due = usize::from(self.is_due(integration));
        let told = usize::from(is_calendar && self.has_new_channel());
        let count = |kind: &str| rows.iter().filter(|(found, _)| found == kind).count();
        // The first sync of all is a full one, also when an incremental one was asked for. Of nothing it is either.
        let nothing = is_calendar && self.world.calendars(self.user.id)?.is_empty();
        let right = rows.len() == due + told
            && count("webhook_triggered") == told
            && (nothing || count("full") == due)
            && rows.iter().all(|(_, result)| result == "success");
        self.same(format!("sync_metrics {}", integration.provider()), right, true);
        Ok(())
    }

    /// That contacts are read from their beginning once: after that, all syncs ask for changes.
    pub(super) async fn contacts_are_incremental(&mut self) -> anyhow::Result<()> {
        let full: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sync_metrics
             WHERE user_id = $1 AND integration_type = 'google_contacts' AND result = 'success' AND sync_type = 'full'",
        )
        .bind(self.user.id)
        .fetch_one(&mut *self.db)
        .await?;
        self.same("sync_metrics google_contacts: full syncs but the first", full.max(1), 1);
        Ok(())
    }

    async fn schedule(&mut self, integration: Integration) -> anyhow::Result<()> {
        let row: Option<ScheduleRow> = sqlx::query_as(
            "SELECT last_sync_at, next_sync_at FROM sync_schedule WHERE user_id = $1 AND integration_type = $2",
        )
        .bind(self.user.id)
        .bind(integration.provider())
        .fetch_optional(&mut *self.db)
        .await?;
        let name = format!("sync_schedule {}", integration.provider());
        let Some(row) = row else {
            let connected = self.user.grant(integration).is_some();
            self.same(name, connected, false);
            return Ok(());
        };
        if self.is_synced(integration) {
            let interval = row.last_sync_at.map(|last| row.next_sync_at - last);
            let has_items =
                integration == Integration::GoogleCalendar || self.world.people_count(self.user.id)? > 0;
            let expected = first_interval(integration, self.before.start, has_items);
            let polled = integration == Integration::GoogleCalendar && self.has_channel();
            if polled && expected > WITH_CHANNEL {
                // A channel that came after the sync counts from then on.
                let late = interval.map(|interval| interval - WITH_CHANNEL);
                let is_soon = late.is_some_and(|late| (TimeDelta::zero()..ONE_RUN).contains(&late));
                self.same(name, is_soon, true);
            } else {
                self.same(name, interval, Some(expected));
            }
        } else {
            self.same(name, row.last_sync_at, None);
        }
        Ok(())
    }

    async fn breaker(&mut self, integration: Integration) -> anyhow::Result<()> {
        let state: Option<String> = sqlx::query_scalar(
            "SELECT state FROM circuit_breaker_state WHERE user_id = $1 AND integration_type = $2",
        )
        .bind(self.user.id)
        .bind(integration.provider())
        .fetch_optional(&mut *self.db)
        .await?;
        let tripped = matches!(self.before.start, Start::BreakerOpen | Start::BreakerRetries)
            && self.user.grant(integration).is_some();
        let closed = state.as_deref().is_none_or(|state| state == "closed");
        let should_be_closed = !tripped || self.is_synced(integration);
        self.same(format!("circuit_breaker_state {}", integration.provider()), closed, should_be_closed);
        Ok(())
    }
}

/// From the first sync to the next. One without changes leaves the interval as it is: the running application's is longer than
/// our longest.
fn first_interval(integration: Integration, start: Start, has_items: bool) -> TimeDelta {
    match (integration, start) {
        // Connected within the last day.
        (Integration::GoogleCalendar, Start::NoSchedule) => TimeDelta::hours(2),
        (Integration::GoogleContacts, Start::NoSchedule) => TimeDelta::hours(1),
        (Integration::GoogleCalendar, _) => TimeDelta::hours(24),
        (Integration::GoogleContacts, _) => TimeDelta::days(if has_items { 5 } else { 6 }),
    }
}
