//! Brings one user's contacts and contact groups up to date with Google, to which nothing is ever written.
//!
//! An address book of any size passes through in pages; what must be remembered between pages is stored in the
//! database. A sync that meets a limit, or the end of its time, commits what it has and continues in a new task.

use std::future::ready;
use std::time::Duration;

use catchup::cache::Cache;
use catchup::db::contact_groups::ContactGroups;
use catchup::db::contacts::{Contacts, GivenToken};
use catchup::event::EventCode;
use catchup::google::people::{MAX_SYNC_TOKEN_AGE, PEOPLE_PER_PAGE, parameters};
use catchup::google::{Gate, People};
use catchup::payload::{self, ContactsResume, ContactsStep, Integration, SyncType, Trigger};
use catchup::sync::{Admission, Admitted, Ended, Entry, Refusal, SyncKind, SyncRun, Syncs};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::envelope::sha256_hex;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::Payload;
use shared::queue::Queue;
use shared::sweep;
use shared::tasks::{Options, Tasks};
use uuid::Uuid;

mod apply;
mod duplicates;
mod group;
mod mapping;
mod notes;
mod page;
mod person;
mod sync;
mod unseen;

use apply::Candidates;
use sync::{Part, Stop};

const QUEUE: Queue = <payload::GoogleContactsSync as Payload>::QUEUE;
/// Calls expected besides those for the pages of people who are linked already: a small share of the limit.
const CALLS_FOR_OTHERS: u32 = 9;

/// Time in which a page is committed.
const WRITE_RESERVE: Duration = Duration::from_secs(30);

/// Syncs a user's contacts.
pub struct GoogleContactsSync {
    contacts: Contacts,
    groups: ContactGroups,
    syncs: Syncs,
    sweeps: Sweeps,
    tasks: Tasks,
    people: People,
    gate: Gate,
    cache: Cache,
}

/// What a part came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Synced {
    sync_type: SyncType,
    people: u64,
    changed: u64,
    api_calls: u64,
    /// The rest is in a new task.
    continued: bool,
}

impl Job for GoogleContactsSync {
    type Payload = payload::GoogleContactsSync;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (contacts, groups) = (Contacts::new(setup), ContactGroups::new(setup));
        let (syncs, sweeps, tasks) = (Syncs::new(setup), setup.sweeps(), setup.tasks());
        let (people, cache) = (People::new(setup), Cache::new(setup));
        let gate = Gate::new(setup, Integration::GoogleContacts, WRITE_RESERVE);
        Ok(Self {
            contacts: contacts?,
            groups: groups?,
            syncs: syncs?,
            sweeps: sweeps?,
            tasks: tasks?,
            people: people?,
            gate: gate?,
            cache: cache?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let swept = (payload.trigger == Some(Trigger::Schedule)).then_some(payload.user_id);
        let result = self.sync(payload, context).await;
        // A part with a successor is not the end.
        let continues = matches!(&result, Ok(Outcome::Done(part)) if part["continued"] == true);
        sweep::user_task(&self.sweeps, QUEUE, swept.filter(|_| !continues), context, ready(result)).await
    }
}

impl GoogleContactsSync {
    async fn sync(
        &self,
        payload: payload::GoogleContactsSync,
        context: &Context,
    ) -> Result<Outcome, Failure> {
        let user_id = payload.user_id;
        let entry = match &payload.resume {
            Some(resume) => Entry::Continued(resume.run),
            None => Entry::Named(name(&context.key)),
        };
        let sync = |admission| async move { self.admitted(payload, admission, context).await };
        let integration = Integration::GoogleContacts;
        self.syncs.run(user_id, integration, entry, &context.key, || context.now(), sync).await
    }

    async fn admitted(
        &self,
        payload: payload::GoogleContactsSync,
        admission: Admission,
        context: &Context,
    ) -> Result<Ended, Failure> {
        let user_id = payload.user_id;
        let begins = matches!(admission, Admission::Admitted(_));
        let state = self.contacts.sync_state(user_id, begins).await?;
        let (mut progress, since) = progress(&payload, state.token, context.now());
        let admitted = match admission {
            Admission::Admitted(admitted) => admitted,
            Admission::Refused(Refusal::UnknownUser) => {
                return Ok(Ended::Here(Outcome::Skipped(Refusal::UnknownUser.code())));
            }
            Admission::Refused(refusal) => {
                // An earlier run may have ended before it could say what it had changed.
                self.cache.contacts_changed(user_id, &[]).await?;
                return self.skip(&payload, &progress, refusal, context.now()).await;
            }
        };
        progress.run = admitted.run;
        let listing = progress.listing.unwrap_or_else(Uuid::new_v4);
        let mut part = Part {
            job: self,
            context,
            user_id,
            progress: &mut progress,
            expected_calls: calls(state.linked),
            listing,
            since,
            doubted_at: state.doubted_at,
            begun_with: state.begun_with,
            candidates: Candidates::Unknown,
        };
        let ended = part.run().await;
        // In every run, as one before this may have changed what it could not drop.
        let dropped = self.cache.contacts_changed(user_id, &[]).await;
        let ended = dropped.map_err(Stop::from).and(ended);
        match ended {
            Ok(()) => {
                let run = SyncRun {
                    api_calls_saved: calls_saved(&progress, state.linked),
                    ..run(&payload, &progress, context.now())
                };
                self.syncs.succeeded(&run, &admitted, progress.changed > 0, context.now()).await?;
                Ok(Ended::Here(synced(&progress, false)))
            }
            Err(Stop::Later(time)) => {
                let rest = payload::GoogleContactsSync { resume: Some(progress.clone()), ..payload };
                // A part has one successor, however often it runs.
                let options = Options::default().named(format_args!("{}:next", context.key)).at(time);
                self.tasks.enqueue(&rest, options).await?;
                Ok(Ended::Continued(synced(&progress, true), time))
            }
            Err(Stop::Refused(refusal)) => self.skip(&payload, &progress, refusal, context.now()).await,
            Err(Stop::Superseded) => Ok(Ended::Here(Outcome::Skipped("superseded"))),
            Err(Stop::Failed(failure)) => {
                self.record_failure(&run(&payload, &progress, context.now()), &admitted, &failure, context)
                    .await;
                Err(failure)
            }
        }
    }

    async fn skip(
        &self,
        payload: &payload::GoogleContactsSync,
        progress: &ContactsResume,
        refusal: Refusal,
        now: DateTime<Utc>,
    ) -> Result<Ended, Failure> {
        self.syncs.skipped(&run(payload, progress, now), refusal, now).await?;
        self.contacts.sync_refused(payload.user_id, refusal.code()).await?;
        Ok(Ended::Here(Outcome::Skipped(refusal.code())))
    }

    /// The failure itself is what the task answers with, whether or not it could be recorded.
    async fn record_failure(&self, run: &SyncRun, admitted: &Admitted, failure: &Failure, context: &Context) {
        if let Failure::Busy { .. } | Failure::Unavailable { .. } = failure {
            // A lock, or a shared dependency that is unavailable: no fault of this user's integration.
            return;
        }
        let (error, now) = (failure.to_string(), context.now());
        let is_last = context.is_final(failure);
        let recorded = async {
            self.contacts.sync_failed(run.user_id, &error).await?;
            self.syncs.failed(run, admitted, &error, is_last, now).await
        };
        if let Err(error) = recorded.await {
            tracing::error!(
                event = %EventCode::SyncFailureNotRecorded,
                error = &error as &dyn std::error::Error,
                "a failed sync could not be recorded"
            );
        }
    }
}

/// Names the sync of a task, and of every repetition of it.
fn name(task: &str) -> Uuid {
    let digits = sha256_hex([task]);
    Uuid::from_u128(u128::from_str_radix(&digits[..32], 16).unwrap_or_default())
}

/// Where this part begins, and the sync token of its listing. A token that Google has forgotten, or that was given for
/// other parameters, is not tried.
fn progress(
    payload: &payload::GoogleContactsSync,
    token: Option<GivenToken>,
    now: DateTime<Utc>,
) -> (ContactsResume, Option<String>) {
    let token = token.filter(|token| token.parameters == parameters());
    let fresh = |token: &GivenToken| now < token.given_at + MAX_SYNC_TOKEN_AGE;
    match &payload.resume {
        Some(resume) if resume.listing.is_some() || resume.step != ContactsStep::People => {
            let is_full = resume.sync_type == SyncType::Full;
            (resume.clone(), token.filter(|_| !is_full).map(|token| token.token))
        }
        resume => {
            // A sync that turned full stays full, even if it must wait before its first page.
            let turned_full = resume.as_ref().is_some_and(|resume| resume.sync_type == SyncType::Full);
            let is_full = turned_full || payload.sync_type == SyncType::Full;
            let since = token.filter(|token| !is_full && fresh(token)).map(|token| token.token);
            let sync_type = if since.is_some() { SyncType::Incremental } else { SyncType::Full };
            let first = ContactsResume {
                run: Uuid::new_v4(),
                started_at: now,
                sync_type,
                step: ContactsStep::People,
                listing: None,
                items: 0,
                changed: 0,
                api_calls: 0,
            };
            (resume.clone().map_or(first, |resume| ContactsResume { sync_type, ..resume }), since)
        }
    }
}

fn run(payload: &payload::GoogleContactsSync, progress: &ContactsResume, now: DateTime<Utc>) -> SyncRun {
    SyncRun {
        user_id: payload.user_id,
        integration: Integration::GoogleContacts,
        kind: SyncKind::new(payload.trigger, progress.sync_type),
        duration: (now - progress.started_at).to_std().unwrap_or_default(),
        items: progress.items,
        api_calls: progress.api_calls,
        api_calls_saved: None,
    }
}

/// Calls that a sync of `linked` people makes, or more: each page of a full one, the groups, and some for new contacts.
fn calls(linked: u64) -> u32 {
    u32::try_from(pages(linked)).unwrap_or(u32::MAX).saturating_add(CALLS_FOR_OTHERS)
}

fn pages(linked: u64) -> u64 {
    linked.div_ceil(u64::from(PEOPLE_PER_PAGE.unsigned_abs())).max(1)
}

/// Calls that a full sync of `linked` people would have made on top of an incremental one.
fn calls_saved(progress: &ContactsResume, linked: u64) -> Option<u64> {
    // One more for the groups.
    (progress.sync_type == SyncType::Incremental)
        .then(|| (pages(linked) + 1).saturating_sub(progress.api_calls))
}

fn synced(progress: &ContactsResume, continued: bool) -> Outcome {
    Outcome::done(Synced {
        sync_type: progress.sync_type,
        people: progress.items,
        changed: progress.changed,
        api_calls: progress.api_calls,
        continued,
    })
}
