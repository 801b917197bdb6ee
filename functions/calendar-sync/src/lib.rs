//! Brings one user's cached calendars and events up to date with Google.

use std::time::{Duration, Instant};

use serde::Serialize;
use shared::cache::Cache;
use shared::config::Incomplete;
use shared::db::Db;
use shared::db::circuit_breaker::{Admission, Admitted, Entry, Refusal};
use shared::db::sync_metrics::{SyncKind, SyncRun};
use shared::google::{Calendar, Error, TokenError, Tokens};
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{self, Integration, RegenerationReason, SuggestionRegeneration, SyncType};
use shared::rate_limit::Limiter;
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

mod event_row;
mod sync;

use sync::{Progress, Stop};

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

/// What a sync came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Synced {
    calendars: u64,
    events: u64,
    changed: u64,
    unusable: u64,
    api_calls: u32,
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
        let started = Instant::now();
        let user_id = payload.user_id;
        let run = |progress: &Progress| SyncRun {
            user_id,
            integration: Integration::GoogleCalendar,
            kind: SyncKind::new(
                payload.trigger,
                if progress.full { SyncType::Full } else { SyncType::Incremental },
            ),
            duration: started.elapsed(),
            items: progress.events,
            api_calls: progress.api_calls.into(),
            api_calls_saved: None,
        };
        let admission =
            self.db.admit_sync(user_id, Integration::GoogleCalendar, Entry::First, context.now()).await?;
        let admitted = match admission {
            Admission::Admitted(admitted) => admitted,
            Admission::Refused(Refusal::UnknownUser) => {
                return Ok(Outcome::Skipped(Refusal::UnknownUser.code()));
            }
            Admission::Refused(refusal) => {
                self.db.sync_skipped(&run(&Progress::default()), refusal.code(), context.now()).await?;
                return Ok(Outcome::Skipped(refusal.code()));
            }
        };
        let (progress, result) = sync::sync(self, user_id, context).await;
        // What an earlier attempt wrote was perhaps never announced.
        if progress.changed > 0 || context.attempt > 1 {
            self.announce_changes(user_id).await?;
        }
        self.settle(&run(&progress), &admitted, &progress, result, context).await
    }
}

impl CalendarSync {
    /// The user's events are others now.
    async fn announce_changes(&self, user_id: Uuid) -> Result<(), Failure> {
        self.cache.events_changed(user_id).await;
        let regeneration = SuggestionRegeneration { user_id, reason: RegenerationReason::CalendarSync };
        self.tasks
            .enqueue_with(&regeneration, Options::default().debounced(user_id, REGENERATION_WINDOW))
            .await?;
        Ok(())
    }

    /// Records how the sync ended: metrics, breaker and schedule.
    async fn settle(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        progress: &Progress,
        result: Result<(), Stop>,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let now = context.now();
        match result {
            Ok(()) => {
                self.db.calendars_synced(run.user_id, now).await?;
                self.db.sync_succeeded(run, admitted, progress.changed > 0, now).await?;
                Ok(Outcome::done(Synced {
                    calendars: progress.calendars,
                    events: progress.events,
                    changed: progress.changed,
                    unusable: progress.unusable,
                    api_calls: progress.api_calls,
                }))
            }
            Err(Stop::Wait(until)) => {
                self.not_finished(run, admitted, "rate_limited", context).await?;
                Ok(Outcome::Snooze(until))
            }
            Err(Stop::Google(Error::Token(TokenError::Revoked))) => {
                self.skip(run, admitted, Refusal::TokenRevoked, context).await
            }
            Err(Stop::Google(Error::Token(TokenError::NotConnected))) => {
                self.skip(run, admitted, Refusal::NotConnected, context).await
            }
            Err(Stop::Google(error)) => {
                self.db.sync_failed(run, admitted, &error.to_string(), now).await?;
                Err(error.into())
            }
            Err(Stop::Database(error)) => Err(error.into()),
        }
    }

    async fn skip(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        refusal: Refusal,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        self.not_finished(run, admitted, refusal.code(), context).await?;
        Ok(Outcome::Skipped(refusal.code()))
    }

    /// Neither a success nor a failure: a half-open breaker lets another sync try.
    async fn not_finished(
        &self,
        run: &SyncRun,
        admitted: &Admitted,
        reason: &'static str,
        context: &Context,
    ) -> Result<(), Failure> {
        if admitted.probe {
            self.db.hand_back_probe(run.user_id, run.integration, context.now()).await?;
        }
        self.db.sync_skipped(run, reason, context.now()).await?;
        Ok(())
    }
}
