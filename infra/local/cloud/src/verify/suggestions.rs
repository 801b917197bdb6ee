//! Suggestions, by a model that looks at every minute of the time for which they are made.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};
use google_stand_in::Integration;
use sqlx::FromRow;
use uuid::Uuid;

use super::Check;
use super::week::Week;
use crate::seed::SuggestionState;

const LEAD: TimeDelta = TimeDelta::hours(24);
const AFTER_BATCH: TimeDelta = TimeDelta::hours(12);
const NOTICE: TimeDelta = TimeDelta::hours(2);
const HORIZON: TimeDelta = TimeDelta::days(14);
const WEEK: TimeDelta = TimeDelta::weeks(1);
const SHORTEST: TimeDelta = TimeDelta::minutes(30);
const LONGEST: TimeDelta = TimeDelta::minutes(60);
const MINUTE: TimeDelta = TimeDelta::minutes(1);
const MAX_OPEN: usize = 5;
const MAX_PER_DAY: usize = 2;
const MAX_PER_BATCH: usize = 3;
/// What was free when suggestions were made and is nearly over now says nothing; nor does what begins at an odd minute.
const MARGIN: TimeDelta = TimeDelta::hours(1);

#[derive(FromRow)]
struct Row {
    id: Uuid,
    contact_id: Uuid,
    status: String,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    created_at: DateTime<Utc>,
    contacts: i64,
    /// Since it was made.
    was_met: bool,
}

impl Row {
    /// No other contact can be met at that time.
    fn takes_time(&self) -> bool {
        ["pending", "accepted"].contains(&self.status.as_str())
    }

    fn is_open(&self) -> bool {
        ["pending", "snoozed"].contains(&self.status.as_str())
    }
}

/// Days between meetings, by the name of a frequency; any other is a month.
pub(super) const FREQUENCIES: [(&str, i32); 6] =
    [("daily", 1), ("weekly", 7), ("biweekly", 14), ("quarterly", 90), ("yearly", 365), ("flexible", 60)];

pub(crate) fn frequency(name: Option<&str>) -> TimeDelta {
    let found = FREQUENCIES.iter().find(|(known, _)| Some(*known) == name);
    TimeDelta::days(found.map_or(30, |(_, days)| i64::from(*days)))
}

impl Check<'_> {
    /// After every sweep ran once.
    pub(super) async fn suggestions(&mut self) -> anyhow::Result<()> {
        let rows = self.suggestion_rows().await?;
        let week = self.week()?;
        let is_changed = self.is_synced(Integration::GoogleCalendar) && week.has_events();
        let from = self.announced_from(self.now);
        let runs = week.free_runs(from, from + HORIZON - MARGIN, |_| false);
        // More days than all the others could fill.
        let days: HashSet<_> = runs.iter().filter(|(start, end)| *end - *start >= LONGEST + MARGIN).collect();
        let has_time = days.len() > MAX_OPEN;
        for before in &self.before.suggestions {
            let Some(found) = rows.iter().find(|row| row.id == before.id) else {
                self.same(format!("suggestion from before ({:?})", before.state), false, true);
                continue;
            };
            let is_conflict = is_changed && week.is_busy_between(before.start, before.end);
            let is_outside = !week.is_in_hours(before.start, before.end);
            let is_moved = found.start != before.start;
            let expected: &[(&str, bool)] = match before.state {
                SuggestionState::Accepted => &[("accepted", false)],
                _ if found.was_met => &[("dismissed", false), ("pending", false), ("snoozed", false)],
                SuggestionState::SnoozedOn => &[("snoozed", false)],
                SuggestionState::SnoozedUntilNow if is_changed && has_time => &[("pending", true)],
                SuggestionState::SnoozedUntilNow => &[("pending", true), ("snoozed", false)],
                SuggestionState::Pending | SuggestionState::PendingWithEvent if is_conflict => {
                    &[("pending", true), ("dismissed", false)]
                }
                SuggestionState::Pending if is_outside && self.is_synced(Integration::GoogleCalendar) => {
                    &[("pending", true), ("dismissed", false)]
                }
                SuggestionState::Pending if is_outside => &[("pending", false), ("dismissed", false)],
                SuggestionState::Pending | SuggestionState::PendingWithEvent => &[("pending", false)],
            };
            let what = format!("suggestion from before ({:?})", before.state);
            self.same(what, expected.contains(&(found.status.as_str(), is_moved)), true);
        }
        self.sound(&rows, &week);
        if self.is_synced(Integration::GoogleCalendar) {
            self.complete(&rows, &week).await?;
        }
        Ok(())
    }

    /// That no contact has two open suggestions, and none is pending at a time that is busy.
    pub(super) async fn current_suggestions(&mut self) -> anyhow::Result<()> {
        let rows = self.suggestion_rows().await?;
        let week = self.week()?;
        self.one_each(&rows);
        let pending = rows.iter().filter(|row| row.status == "pending" && row.start > self.now);
        let conflicts = pending.filter(|row| week.is_busy_between(row.start, row.end)).count();
        self.same("number of pending suggestions at busy times", conflicts, 0);
        Ok(())
    }

    fn one_each(&mut self, rows: &[Row]) {
        let mut open = HashSet::new();
        for row in rows.iter().filter(|row| row.is_open()) {
            self.same("only open suggestion of its contact", open.insert(row.contact_id), true);
        }
        self.same("number of open suggestions", open.len() <= MAX_OPEN, true);
    }

    async fn suggestion_rows(&mut self) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as(
            "SELECT s.id, s.contact_id, s.status::text, s.proposed_timeslot_start AS start,
                    s.proposed_timeslot_end AS end, s.created_at,
                    (SELECT count(*) FROM suggestion_contacts c WHERE c.suggestion_id = s.id) AS contacts,
                    EXISTS (SELECT FROM contacts c WHERE c.id = s.contact_id
                            AND (c.last_contact_date > s.created_at OR c.archived)) AS was_met
             FROM suggestions s WHERE s.user_id = $1 ORDER BY s.proposed_timeslot_start",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await
    }

    /// Contacts that the user was in touch with longer ago than the frequency says, and not those of whom something else may
    /// keep them from being suggested.
    async fn due(&mut self) -> sqlx::Result<HashSet<Uuid>> {
        let contacts: Vec<(Uuid, Option<String>, DateTime<Utc>)> = sqlx::query_as(
            "SELECT id, frequency_preference::text, last_contact_date FROM contacts c
             WHERE user_id = $1 AND archived IS NOT TRUE AND timezone IS NULL AND last_contact_date IS NOT NULL
               AND frequency_preference IS DISTINCT FROM 'na'
               AND NOT EXISTS (SELECT FROM jobs.next_meetings n WHERE n.contact_id = c.id)
               AND NOT EXISTS (SELECT FROM contacts o WHERE o.user_id = $1 AND o.id <> c.id
                               AND (lower(o.name) = lower(c.name) OR lower(o.email) = lower(c.email) OR o.phone = c.phone))",
        )
        .bind(self.user.id)
        .fetch_all(&mut *self.db)
        .await?;
        let is_due = |(_, name, last): &(_, Option<String>, DateTime<Utc>)| {
            self.now - *last >= frequency(name.as_deref())
        };
        Ok(contacts.into_iter().filter(is_due).map(|(id, ..)| id).collect())
    }

    /// The first batch after a moment, if a message announces it.
    fn batch_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let reach = &self.before.reach;
        let has_channel = reach.email || reach.number.is_some();
        has_channel.then(|| reach.batches(moment, moment + WEEK + LEAD).first().copied()).flatten()
    }

    /// From when on a batch announces what was suggested at a moment.
    fn announced_from(&self, made_at: DateTime<Utc>) -> DateTime<Utc> {
        let next = self.batch_after(made_at);
        next.map_or(made_at + LEAD, |batch| (batch + AFTER_BATCH).max(made_at + LEAD))
    }

    /// That nothing was suggested that should not be.
    fn sound(&mut self, rows: &[Row], week: &Week) {
        self.one_each(rows);
        let is_new = |row: &&Row| self.before.suggestions.iter().all(|before| before.id != row.id);
        let mut early = 0;
        for row in rows.iter().filter(is_new) {
            let id = row.id;
            self.same(format!("suggestion {id}: number of contacts"), row.contacts, 1);
            let length = row.end - row.start;
            let from = self.announced_from(row.created_at);
            early += usize::from(row.start < from);
            let is_slot = (SHORTEST..=LONGEST).contains(&length)
                && row.start >= row.created_at + LEAD
                && row.end <= from + HORIZON;
            self.same(format!("suggestion {id}: a slot in time"), is_slot, true);
            self.same(format!("suggestion {id}: free time"), week.is_free_between(row.start, row.end), true);
            let overlaps = rows.iter().filter(|other| {
                other.id != id && other.takes_time() && other.start < row.end && row.start < other.end
            });
            self.same(format!("suggestion {id}: others at the same time"), overlaps.count(), 0);
            let same_day = rows
                .iter()
                .filter(|other| other.takes_time() && week.date(other.start) == week.date(row.start));
            self.same(
                format!("suggestion {id}: others on the same day"),
                same_day.count() <= MAX_PER_DAY,
                true,
            );
        }
        self.same("suggestions that no batch announces", early <= 1, true);
    }

    /// That no contact is left who could be met at a time that is left.
    async fn complete(&mut self, rows: &[Row], week: &Week) -> sqlx::Result<()> {
        let is_suggested: HashSet<Uuid> = rows.iter().map(|row| row.contact_id).collect();
        let left = self.due().await?.iter().filter(|contact| !is_suggested.contains(contact)).count();
        let open = rows.iter().filter(|row| row.is_open()).count();
        if left == 0 || open >= MAX_OPEN {
            return Ok(());
        }
        let from = self.announced_from(self.now);
        let next = self.batch_after(self.now);
        let (told_from, first) = next.map_or((from, from), |batch| (batch + NOTICE, batch + AFTER_BATCH));
        let batch = |start: DateTime<Utc>| (start - first).num_seconds() / WEEK.num_seconds();
        let mut per_day: BTreeMap<NaiveDate, usize> = BTreeMap::new();
        let mut per_batch: BTreeMap<i64, usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.takes_time()) {
            *per_day.entry(week.date(row.start)).or_default() += 1;
            if row.status == "pending" && row.start >= told_from {
                *per_batch.entry(batch(row.start)).or_default() += 1;
            }
        }
        let is_taken = |moment: DateTime<Utc>| {
            rows.iter().any(|row| row.takes_time() && row.start <= moment && moment < row.end)
        };
        let begin = (from + MARGIN).duration_trunc(MINUTE).unwrap_or(from);
        let until = from + HORIZON - MARGIN;
        let mut unused = 0;
        for (mut start, end) in week.free_runs(begin, until, is_taken) {
            while end - start >= SHORTEST + MARGIN {
                let is_day_full = per_day.get(&week.date(start)).is_some_and(|used| *used >= MAX_PER_DAY);
                let is_batch_full = per_batch.get(&batch(start)).is_some_and(|used| *used >= MAX_PER_BATCH);
                unused += usize::from(!is_day_full && !is_batch_full);
                start += LONGEST;
            }
        }
        self.same(format!("free slots while {left} contacts wait"), unused, 0);
        Ok(())
    }
}
