//! Brings one user's cached calendars and events up to date with Google.

use std::time::Duration;

use catchup::cache::Cache;
use catchup::db::calendar_events::CalendarEvents;
use catchup::db::calendar_sync_runs::{CalendarSyncRun, CalendarSyncRuns};
use catchup::db::calendars::Calendars;
use catchup::db::users::Users;
use catchup::google::{Calendar, Error, TokenError, Tokens};
use catchup::payload::{self, Integration, RegenerationReason, SuggestionRegeneration, SyncType, Trigger};
use catchup::sync::{Admission, Admitted, Ended, Entry, Refusal, SyncKind, SyncRun, Syncs};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
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
    users: Users,
    calendars: Calendars,
    events: CalendarEvents,
    runs: CalendarSyncRuns,
    syncs: Syncs,
    sweeps: Sweeps,
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

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (users, calendars, events) =
            (Users::new(setup), Calendars::new(setup), CalendarEvents::new(setup));
        let (runs, syncs, sweeps) = (CalendarSyncRuns::new(setup), Syncs::new(setup), setup.sweeps());
        let (tasks, tokens, calendar) = (setup.tasks(), Tokens::new(setup), Calendar::new(setup));
        let (cache, limiter) = (Cache::new(setup), setup.limiter());
        Ok(Self {
            users: users?,
            calendars: calendars?,
            events: events?,
            runs: runs?,
            syncs: syncs?,
            sweeps: sweeps?,
            tasks: tasks?,
            tokens: tokens?,
            calendar: calendar?,
            cache: cache?,
            limiter: limiter?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let swept = (payload.trigger == Some(Trigger::Schedule)).then_some(payload.user_id);
        sweep::user_task(&self.sweeps, QUEUE, swept, context, self.sync(payload, context)).await
    }
}

impl CalendarSync {
    async fn sync(&self, payload: payload::CalendarSync, context: &Context) -> Result<Outcome, Failure> {
        let user_id = payload.user_id;
        let begun_at = context.now();
        let payload = &payload;
        let sync = |admission| async move {
            match admission {
                Admission::Admitted(admitted) => {
                    let (progress, result) = sync::sync(self, user_id, context).await;
                    let kept = self.runs.get(user_id).await?;
                    let total = total(kept, &progress, begun_at, context);
                    self.announce_changes(user_id, &total).await?;
                    self.settle(payload, &admitted, (&progress, &total), result, context).await
                }
                Admission::Refused(refusal) => self.refused(payload, refusal, begun_at, context).await,
            }
            .map(Ended::Here)
        };
        let integration = Integration::GoogleCalendar;
        self.syncs.run(user_id, integration, Entry::First, || context.now(), sync).await
    }

    async fn refused(
        &self,
        payload: &payload::CalendarSync,
        refusal: Refusal,
        begun_at: DateTime<Utc>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        if refusal == Refusal::UnknownUser {
            return Ok(Outcome::Skipped(refusal.code()));
        }
        let (user_id, nothing) = (payload.user_id, Progress::default());
        let kept = self.runs.get(user_id).await?;
        self.announce_changes(user_id, &total(kept, &nothing, begun_at, context)).await?;
        let run = sync_run(payload, &total(None, &nothing, begun_at, context), context);
        self.skip(&run, refusal, context.now()).await
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
        if kept.started_at >= context.scheduled_for {
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
        self.tasks.enqueue(&regeneration, Options::default().debounced(user_id, REGENERATION_WINDOW)).await?;
        Ok(self.runs.changes_notified(user_id, total).await?)
    }

    /// Records how the sync ended: metrics, breaker and schedule. One that continues later leaves no row.
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
                self.users.calendars_synced(user_id, now).await?;
                self.syncs.succeeded(&run, admitted, total.changed > 0, now).await?;
                Ok(Outcome::done(Synced {
                    calendars: progress.calendars,
                    events: total.items,
                    changed: total.changed,
                    unusable: progress.unusable,
                    api_calls: total.api_calls,
                }))
            }
            Err(Stop::Wait(until)) => {
                self.runs.store(user_id, total).await?;
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
                self.syncs.failed(&run, admitted, &reason, is_last, now).await?;
                Err(failure)
            }
            Err(Stop::Database(error)) => return Err(error.into()),
        };
        self.runs.end(user_id, total).await?;
        outcome
    }

    async fn skip(&self, run: &SyncRun, refusal: Refusal, now: DateTime<Utc>) -> Result<Outcome, Failure> {
        self.syncs.skipped(run, refusal.code(), now).await?;
        Ok(Outcome::Skipped(refusal.code()))
    }
}
