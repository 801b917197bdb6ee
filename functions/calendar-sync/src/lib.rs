//! Brings one user's cached calendars and events up to date with Google. Each task syncs one user:
//!
//! 1. Admission: token health, circuit breaker and schedule are read in one statement, and a user who has no token, has
//!    a revoked one, or whose circuit breaker is open is skipped.
//! 2. The list of calendars is read to its end, once per sync, and replaces the stored one.
//! 3. Events and sync tokens of calendars that are not synced any more are removed.
//! 4. Each selected calendar (the primary one when none is selected) that was not synced since the task was created is
//!    read page by page, from its sync token or, without a usable one, in full. Each page is stored in one statement
//!    before the next one is asked for; the sync token is stored after the last page. Each of these statements looks
//!    whether the listing still stands.
//! 5. Calendars that another calendar's sync has reset are read in full, and events that ended long ago are removed.
//! 6. The date of the last meeting with each contact, and of the next one, is noted.
//! 7. If events changed, the user's cached free times are dropped and new suggestions are asked for, also when the sync
//!    did not come to its end.
//! 8. The end is recorded for metrics, circuit breaker and schedule.
//!
//! A task that meets a limit or the end of its time stores the position in its calendar and is rescheduled; the calendars
//! that are done are not read again. A calendar that fails is skipped, and the others are synced in the same run. It has a
//! backoff of its own: after a transient failure another sync is created at its end, and one that Google refuses waits for
//! the user's next sync.
//!
//! The job never writes to Google. It holds a page of events, Google's or stored ones, and the ids that a full sync has met.

use std::time::Duration;

use catchup::cache::Cache;
use catchup::db::calendar_events::CalendarEvents;
use catchup::db::calendar_sync_runs::{CalendarSyncRun, CalendarSyncRuns};
use catchup::db::calendars::Calendars;
use catchup::db::meetings::Meetings;
use catchup::db::users::Users;
use catchup::google::{Calendar, Gate, Stop};
use catchup::payload::{self, Integration, RegenerationReason, SuggestionRegeneration, SyncType, Trigger};
use catchup::sync::{Admission, Admitted, Ended, Entry, Refusal, SyncKind, SyncRun, Syncs};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::Queue;
use shared::sweep;
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

mod event_row;
mod listing;
mod people_met;
mod sync;

use sync::Progress;

const QUEUE: Queue = <payload::CalendarSync as Payload>::QUEUE;

/// Changes of one user within this time lead to one regeneration of suggestions.
const REGENERATION_WINDOW: Duration = Duration::from_mins(1);

/// Clocks may differ so much: a calendar's retry does not come before its time.
const RETRY_GRACE: TimeDelta = TimeDelta::seconds(5);

/// Time in which a page is committed.
const WRITE_RESERVE: Duration = Duration::from_secs(30);

/// Syncs a user's calendars.
pub struct CalendarSync {
    users: Users,
    calendars: Calendars,
    events: CalendarEvents,
    runs: CalendarSyncRuns,
    meetings: Meetings,
    syncs: Syncs,
    sweeps: Sweeps,
    tasks: Tasks,
    calendar: Calendar,
    gate: Gate,
    cache: Cache,
}

/// What a sync came to, over all its runs; `calendars`, `skipped` and `unusable` in the last one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Synced {
    calendars: u64,
    /// Calendars that fail, or failed a short while ago.
    skipped: u64,
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
        let (runs, meetings) = (CalendarSyncRuns::new(setup), Meetings::new(setup));
        let (syncs, sweeps) = (Syncs::new(setup), setup.sweeps());
        let (tasks, calendar, cache) = (setup.tasks(), Calendar::new(setup), Cache::new(setup));
        let gate = Gate::new(setup, Integration::GoogleCalendar, WRITE_RESERVE);
        Ok(Self {
            users: users?,
            calendars: calendars?,
            events: events?,
            runs: runs?,
            meetings: meetings?,
            syncs: syncs?,
            sweeps: sweeps?,
            tasks: tasks?,
            calendar: calendar?,
            gate: gate?,
            cache: cache?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let swept = (payload.trigger == Some(Trigger::Schedule)).then_some(payload.user_id);
        sweep::user_task(&self.sweeps, QUEUE, swept, context, self.sync(payload, context)).await
    }
}

impl CalendarSync {
    async fn sync(&self, payload: payload::CalendarSync, context: &Context) -> Result<Outcome, Failure> {
        let (payload, begun_at) = (&payload, context.now());
        let sync = |admission| async move {
            let outcome = match admission {
                Admission::Admitted(admitted) => self.admitted(payload, &admitted, begun_at, context).await,
                Admission::Refused(refusal) => self.refused(payload, refusal, begun_at, context).await,
            };
            outcome.map(Ended::Here)
        };
        let (user_id, integration) = (payload.user_id, Integration::GoogleCalendar);
        self.syncs.run(user_id, integration, Entry::First, &context.key, || context.now(), sync).await
    }

    /// Syncs, says what changed, and records how the sync ended.
    async fn admitted(
        &self,
        payload: &payload::CalendarSync,
        admitted: &Admitted,
        begun_at: DateTime<Utc>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let user_id = payload.user_id;
        let (progress, result) = sync::sync(self, user_id, admitted.run, context).await;
        let kept = self.runs.get(user_id).await?;
        let total = total(kept, &progress, begun_at, context);
        // First: what is in memory only.
        if !progress.met.is_empty() {
            self.cache.contacts_changed(user_id, &progress.met).await?;
        }
        self.notify_changes(user_id, &total).await?;
        self.settle(payload, admitted, (&progress, &total), result, context).await
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
        self.notify_changes(user_id, &total(kept, &nothing, begun_at, context)).await?;
        let run = sync_run(payload, &total(None, &nothing, begun_at, context), context);
        self.skip(&run, refusal, context.now()).await
    }

    /// If the user's events changed, notifies the cache and the generator of suggestions: also of what an earlier run
    /// wrote that was stopped, or failed, before it could.
    async fn notify_changes(&self, user_id: Uuid, total: &CalendarSyncRun) -> Result<(), Failure> {
        if total.changed <= total.notified {
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
                if let Some(at) = self.calendars.next_retry(user_id).await? {
                    self.retry(user_id, at + RETRY_GRACE).await?;
                }
                self.users.calendars_synced(user_id, now).await?;
                self.syncs.succeeded(&run, admitted, total.changed > 0, now).await?;
                Ok(Outcome::done(Synced {
                    calendars: progress.calendars,
                    skipped: progress.skipped,
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
            Err(Stop::Disconnected(reason)) => self.skip(&run, reason.into(), now).await,
            Err(Stop::Google(error)) => {
                let reason = error.to_string();
                let failure = Failure::from(error);
                // Ours: nothing is recorded against the user.
                if let Failure::Unavailable { .. } = failure {
                    return Err(failure);
                }
                let is_last = context.is_final(&failure);
                self.syncs.failed(&run, admitted, &reason, is_last, now).await?;
                Err(failure)
            }
            Err(Stop::Database(error)) => return Err(error.into()),
        };
        self.runs.end(user_id, total).await?;
        outcome
    }

    /// Calendars that failed transiently are tried again then.
    async fn retry(&self, user_id: Uuid, at: DateTime<Utc>) -> Result<(), Failure> {
        let sync = payload::CalendarSync { user_id, trigger: None };
        let name = format!("calendar-retry:{user_id}:{}", at.timestamp());
        self.tasks.enqueue(&sync, Options::default().named(name).at(at)).await?;
        Ok(())
    }

    async fn skip(&self, run: &SyncRun, refusal: Refusal, now: DateTime<Utc>) -> Result<Outcome, Failure> {
        self.syncs.skipped(run, refusal, now).await?;
        Ok(Outcome::Skipped(refusal.code()))
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
        notified: 0,
        items: progress.events.cast_signed(),
        api_calls: progress.api_calls.into(),
        is_full: progress.full,
    };
    if let Some(kept) = kept {
        (total.changed, total.notified) = (kept.changed, kept.notified);
        // An earlier task that never ended counts only with the changes it wrote.
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
