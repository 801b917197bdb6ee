//! Brings one user's cached calendars and events up to date with Google.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::cache::Cache;
use shared::config::Incomplete;
use shared::db::Db;
use shared::db::calendar_sync_runs::CalendarSyncRun;
use shared::db::circuit_breaker::{Admission, Admitted, Entry, Refusal};
use shared::db::sync_metrics::{SyncKind, SyncRun};
use shared::google::{Calendar, Error, TokenError, Tokens};
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{
    self, Integration, Payload, RegenerationReason, SuggestionRegeneration, SyncType, Trigger,
};
use shared::queue::Queue;
use shared::rate_limit::Limiter;
use shared::sweep;
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

mod event_row;
mod sync;

use sync::{Progress, Stop};

const QUEUE: Queue = <payload::CalendarSync as Payload>::QUEUE;

/// Changes of one user within this time lead to one regeneration of suggestions.
const REGENERATION_WINDOW: Duration = Duration::from_mins(1);

/// Syncs a user's calendars.
pub struct CalendarSync {
    db: Db,
    tasks: Tasks,
    tokens: Tokens,
    calendar: Calendar,
    cache: Cache,
    limiter: Limiter,
}

/// What a sync came to, over all its runs; `calendars` and `unusable` in the last one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Synced {
    calendars: u64,
    events: i64,
    changed: i64,
    unusable: u64,
    api_calls: i64,
}

impl Job for CalendarSync {
    type Payload = payload::CalendarSync;

    fn new(setup: &mut Setup) -> Result<Self, Incomplete> {
        let (db, tasks, tokens) = (setup.db(), setup.tasks(), setup.tokens());
        let (calendar, cache, limiter) = (setup.calendar(), setup.cache(), setup.limiter());
        Ok(Self {
            db: db?,
            tasks: tasks?,
            tokens: tokens?,
            calendar: calendar?,
            cache: cache?,
            limiter: limiter?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let swept = (payload.trigger == Some(Trigger::Schedule)).then_some(payload.user_id);
        sweep::user_task(&self.db, QUEUE, swept, context, self.sync(payload, context)).await
    }
}

impl CalendarSync {
    async fn sync(&self, payload: payload::CalendarSync, context: &Context) -> Result<Outcome, Failure> {
        let user_id = payload.user_id;
        let begun_at = context.now();
        let admission =
            self.db.admit_sync(user_id, Integration::GoogleCalendar, Entry::First, begun_at).await?;
        let admitted = match admission {
            Admission::Admitted(admitted) => admitted,
            Admission::Refused(Refusal::UnknownUser) => {
                return Ok(Outcome::Skipped(Refusal::UnknownUser.code()));
            }
            Admission::Refused(refusal) => {
                let nothing = Progress::default();
                let kept = self.db.calendar_sync_run(user_id).await?;
                self.announce_changes(user_id, &total(kept, &nothing, begun_at, context)).await?;
                let run = sync_run(&payload, &total(None, &nothing, begun_at, context), context);
                self.db.sync_skipped(&run, refusal.code(), context.now()).await?;
                return Ok(Outcome::Skipped(refusal.code()));
            }
        };
        let (progress, result) = sync::sync(self, user_id, context).await;
        let outcome = async {
            let kept = self.db.calendar_sync_run(user_id).await?;
            let total = total(kept, &progress, begun_at, context);
            self.announce_changes(user_id, &total).await?;
            self.settle(&payload, &admitted, (&progress, &total), result, context).await
        };
        let outcome = outcome.await;
        self.db.sync_ended(user_id, Integration::GoogleCalendar, &admitted, context.now()).await;
        outcome
    }
}

/// What the sync came to: in this run, and before it as far as that is `kept`.
fn total(
    kept: Option<CalendarSyncRun>,
    progress: &Progress,
    begun_at: DateTime<Utc>,
    context: &Context,
) -> CalendarSyncRun {
    let mut total = CalendarSyncRun {
        started_at: begun_at,
        changed: 0,
        announced: 0,
        items: progress.events.cast_signed(),
        api_calls: progress.api_calls.into(),
        is_full: progress.full,
    };
    if let Some(kept) = kept {
        (total.changed, total.announced) = (kept.changed, kept.announced);
        // Of a task that was never heard of again only what it wrote is of interest.
        if kept.started_at >= context.occasion {
            total.started_at = total.started_at.min(kept.started_at);
            total.items += kept.items;
            total.api_calls += kept.api_calls;
            total.is_full |= kept.is_full;
        }
    }
    total
}

fn sync_run(payload: &payload::CalendarSync, total: &CalendarSyncRun, context: &Context) -> SyncRun {
    let sync_type = if total.is_full { SyncType::Full } else { SyncType::Incremental };
    SyncRun {
        user_id: payload.user_id,
        integration: Integration::GoogleCalendar,
        kind: SyncKind::new(payload.trigger, sync_type),
        duration: (context.now() - total.started_at).to_std().unwrap_or_default(),
        items: total.items.unsigned_abs(),
        api_calls: total.api_calls.unsigned_abs(),
        api_calls_saved: None,
    }
}

impl CalendarSync {
    /// If the user's events changed, says so: also what an earlier run wrote that was stopped, or failed, before it could.
    async fn announce_changes(&self, user_id: Uuid, total: &CalendarSyncRun) -> Result<(), Failure> {
        if total.changed <= total.announced {
            return Ok(());
        }
        self.cache.events_changed(user_id).await?;
        let regeneration = SuggestionRegeneration { user_id, reason: RegenerationReason::CalendarSync };
        self.tasks
            .enqueue_with(&regeneration, Options::default().debounced(user_id, REGENERATION_WINDOW))
            .await?;
        Ok(self.db.calendar_changes_announced(user_id, total).await?)
    }

    /// Records how the sync ended: metrics, breaker and schedule. One that goes on later leaves no row.
    async fn settle(
        &self,
        payload: &payload::CalendarSync,
        admitted: &Admitted,
        (progress, total): (&Progress, &CalendarSyncRun),
        result: Result<(), Stop>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let (user_id, now) = (payload.user_id, context.now());
        let run = sync_run(payload, total, context);
        let outcome = match result {
            Ok(()) => {
                self.db.calendars_synced(user_id, now).await?;
                self.db.sync_succeeded(&run, admitted, total.changed > 0, now).await?;
                Ok(Outcome::done(Synced {
                    calendars: progress.calendars,
                    events: total.items,
                    changed: total.changed,
                    unusable: progress.unusable,
                    api_calls: total.api_calls,
                }))
            }
            Err(Stop::Wait(until)) => {
                self.db.keep_calendar_sync_run(user_id, total).await?;
                return Ok(Outcome::Snooze(until));
            }
            Err(Stop::Google(Error::Token(TokenError::Revoked))) => {
                self.skip(&run, Refusal::TokenRevoked, now).await
            }
            Err(Stop::Google(Error::Token(TokenError::NotConnected))) => {
                self.skip(&run, Refusal::NotConnected, now).await
            }
            Err(Stop::Google(error)) => {
                let reason = error.to_string();
                let failure = Failure::from(error);
                let is_last = context.last_attempt || matches!(failure, Failure::Permanent(_));
                self.db.sync_failed(&run, admitted, &reason, is_last, now).await?;
                Err(failure)
            }
            Err(Stop::Database(error)) => return Err(error.into()),
        };
        self.db.end_calendar_sync_run(user_id, total).await?;
        outcome
    }

    async fn skip(&self, run: &SyncRun, refusal: Refusal, now: DateTime<Utc>) -> Result<Outcome, Failure> {
        self.db.sync_skipped(run, refusal.code(), now).await?;
        Ok(Outcome::Skipped(refusal.code()))
    }
}
