//! Suggestions, by a model that looks at every minute of two weeks.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};
use google_stand_in::Integration;
use sqlx::FromRow;
use uuid::Uuid;

use super::Check;
use super::week::Week;
use crate::seed::SuggestionState;

const HORIZON: TimeDelta = TimeDelta::days(14);
const SHORTEST: TimeDelta = TimeDelta::minutes(30);
const LONGEST: TimeDelta = TimeDelta::minutes(60);
const MINUTE: TimeDelta = TimeDelta::minutes(1);
const MAX_PER_DAY: usize = 4;
/// What was free when suggestions were made and is nearly over now says nothing.
const MARGIN: TimeDelta = TimeDelta::hours(1);

#[derive(FromRow)]
struct Row {
    id: Uuid,
    contact_id: Uuid,
    status: String,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    created_at: DateTime<Utc>,
    priority: i32,
    contacts: i64,
    has_reason: bool,
}

impl Row {
    /// No other contact can be met at that time.
    fn takes_time(&self) -> bool {
        ["pending", "snoozed", "accepted"].contains(&self.status.as_str())
    }

    fn is_open(&self) -> bool {
        ["pending", "snoozed"].contains(&self.status.as_str())
    }
}

#[derive(FromRow)]
struct Contact {
    id: Uuid,
    days_overdue: i32,
}

impl Check<'_> {
    /// After every sweep ran once.
    pub(super) async fn suggestions(&mut self) -> anyhow::Result<()> {
        let rows = self.suggestion_rows().await?;
        let week = self.week()?;
        let is_changed = self.is_synced(Integration::GoogleCalendar) && week.has_events();
        for before in &self.before.suggestions {
            let is_conflict = is_changed && week.is_busy_between(before.start, before.end);
            let expected = match before.state {
                SuggestionState::SnoozedUntilNow if !is_changed => "snoozed",
                SuggestionState::Pending
                | SuggestionState::PendingWithEvent
                | SuggestionState::SnoozedUntilNow
                    if is_conflict =>
                {
                    "dismissed"
                }
                SuggestionState::Pending
                | SuggestionState::PendingWithEvent
                | SuggestionState::SnoozedUntilNow => "pending",
                SuggestionState::SnoozedOn | SuggestionState::Accepted => before.state.status(),
            };
            let found =
                rows.iter().find(|row| row.id == before.id).map(|row| (row.status.as_str(), row.has_reason));
            let what = format!("suggestion from before ({:?})", before.state);
            self.same(what, found, Some((expected, expected == "dismissed")));
        }
        self.sound(&rows, &week).await?;
        if self.user.grant(Integration::GoogleCalendar).is_some() {
            self.complete(&rows, &week).await?;
        }
        Ok(())
    }

    /// That no contact has two open suggestions, and none is pending at a time that is busy.
    pub(super) async fn current_suggestions(&mut self) -> anyhow::Result<()> {
        let rows = self.suggestion_rows().await?;
        let week = self.week()?;
        let mut open = HashSet::new();
        for row in rows.iter().filter(|row| row.is_open()) {
            self.same("only open suggestion of its contact", open.insert(row.contact_id), true);
        }
        let pending = rows.iter().filter(|row| row.status == "pending" && row.start > self.now);
        let conflicts = pending.filter(|row| week.is_busy_between(row.start, row.end)).count();
        self.same("number of pending suggestions at busy times", conflicts, 0);
        Ok(())
    }

    async fn suggestion_rows(&mut self) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as(
            "SELECT s.id, s.contact_id, s.status::text, s.proposed_timeslot_start AS start,
                    s.proposed_timeslot_end AS end, s.created_at, s.priority,
                    (SELECT count(*) FROM suggestion_contacts c WHERE c.suggestion_id = s.id) AS contacts,
                    s.dismissal_reason IS NOT NULL AS has_reason
             FROM suggestions s WHERE s.user_id = $1 ORDER BY s.proposed_timeslot_start",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await
    }

    /// Contacts that are overdue at this moment: days since the last meeting, or since the contact is known, beyond the
    /// frequency.
    async fn overdue(&mut self) -> sqlx::Result<Vec<Contact>> {
        sqlx::query_as(
            "SELECT id, days_overdue FROM (
                 SELECT id, EXTRACT(day FROM $2 - COALESCE(last_contact_date, created_at))::int
                     - CASE WHEN last_contact_date IS NULL THEN 0 ELSE CASE frequency_preference
                           WHEN 'daily' THEN 1 WHEN 'weekly' THEN 7 WHEN 'biweekly' THEN 14 WHEN 'quarterly' THEN 90
                           WHEN 'yearly' THEN 365 WHEN 'flexible' THEN 60 WHEN 'na' THEN 365 ELSE 30 END
                       END AS days_overdue
                 FROM contacts WHERE user_id = $1 AND archived IS NOT TRUE
             ) AS c WHERE days_overdue >= 0",
        )
        .bind(self.user.id)
        .bind(self.now)
        .fetch_all(&mut *self.db)
        .await
    }

    /// That nothing was suggested that should not be.
    async fn sound(&mut self, rows: &[Row], week: &Week) -> sqlx::Result<()> {
        let overdue: BTreeMap<Uuid, i32> =
            self.overdue().await?.into_iter().map(|contact| (contact.id, contact.days_overdue)).collect();
        let mut open = HashSet::new();
        for row in rows.iter().filter(|row| row.is_open()) {
            self.same("only open suggestion of its contact", open.insert(row.contact_id), true);
        }
        let is_new = |row: &&Row| self.before.suggestions.iter().all(|before| before.id != row.id);
        for row in rows.iter().filter(is_new) {
            let id = row.id;
            self.same(format!("suggestion {id}: number of contacts"), row.contacts, 1);
            let length = row.end - row.start;
            let is_slot = (SHORTEST..=LONGEST).contains(&length)
                && row.start >= row.created_at
                && row.end <= row.created_at + HORIZON;
            self.same(format!("suggestion {id}: a slot of the next 14 days"), is_slot, true);
            self.same(format!("suggestion {id}: free time"), week.is_free_between(row.start, row.end), true);
            let overlaps = rows.iter().filter(|other| {
                other.id != id && other.takes_time() && other.start < row.end && row.start < other.end
            });
            self.same(format!("suggestion {id}: others at the same time"), overlaps.count(), 0);
            let priority =
                overdue.get(&row.contact_id).map(|days| (100.0 + 50.0 * f64::from(*days).ln_1p()).round());
            self.same(format!("suggestion {id}: priority"), Some(f64::from(row.priority)), priority);
        }
        Ok(())
    }

    /// That no contact is left who could be met at a time that is left.
    async fn complete(&mut self, rows: &[Row], week: &Week) -> sqlx::Result<()> {
        let has_open_suggestion: HashSet<Uuid> =
            rows.iter().filter(|row| row.takes_time()).map(|row| row.contact_id).collect();
        let overdue = self.overdue().await?;
        let left: Vec<&Contact> =
            overdue.iter().filter(|contact| !has_open_suggestion.contains(&contact.id)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut used: BTreeMap<NaiveDate, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.takes_time()) {
            *used.entry(week.date(row.start)).or_default() += 1;
        }
        let is_taken = |moment: DateTime<Utc>| {
            rows.iter().any(|row| row.takes_time() && row.start <= moment && moment < row.end)
        };
        let from = (self.now + MARGIN).duration_trunc(MINUTE).unwrap_or(self.now);
        let until = self.seeded.at + HORIZON;
        let mut unused = 0;
        for (mut start, end) in week.free_runs(from, until, is_taken) {
            while end - start >= SHORTEST {
                unused += usize::from(used.get(&week.date(start)).copied().unwrap_or_default() < MAX_PER_DAY);
                start += LONGEST;
            }
        }
        self.same(format!("free slots while {} contacts wait", left.len()), unused, 0);
        let friend = self.before.contacts.iter().find(|contact| contact.is_close_friend);
        let forgotten = friend.is_some_and(|friend| left.iter().any(|contact| contact.id == friend.id));
        self.same("close friend waits behind others", forgotten && !rows.is_empty(), false);
        Ok(())
    }
}
