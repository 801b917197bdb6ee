//! Compares Postgres with the Google world, row by row.
//!
//! What should be there is worked out here from the world and from what was seeded, by other means than the functions
//! use: a rule of theirs that is wrong must not be repeated here.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use google_stand_in::{Grant, GrantState, Integration, User, World};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::connect;
use crate::reports::Reports;
use crate::seed::{Seeded, SeededUser, Start};
use crate::stack::LocalCloud;

mod calendar;
mod channels;
mod contacts;
mod groups;
mod messages;
mod suggestions;
mod syncs;
mod tokens;
mod week;

pub(crate) use messages::QUARTER;
pub use messages::{batches, swept_before};
pub(crate) use suggestions::frequency;

/// Something that is not as it should be. Carries ids and names of columns, and no personal datum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose row; `None` for what belongs to no user.
    pub user: Option<Uuid>,
    /// What about it.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(f, "user {user}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// All differences, after every schedule ran once on a fresh database and the queues are empty. `reports` have reported all that
/// became of messages.
pub async fn verify(cloud: &LocalCloud, reports: Option<&Reports>) -> anyhow::Result<Vec<Difference>> {
    compare(cloud, reports, Passed::OneRun).await
}

/// All differences after some simulated days in which the world changed, everybody synced once more, and the queues are
/// empty.
pub async fn verify_days(cloud: &LocalCloud, reports: Option<&Reports>) -> anyhow::Result<Vec<Difference>> {
    compare(cloud, reports, Passed::Days).await
}

async fn compare(
    cloud: &LocalCloud,
    reports: Option<&Reports>,
    passed: Passed,
) -> anyhow::Result<Vec<Difference>> {
    let (database, world, seeded) = (cloud.database(), cloud.world(), cloud.seeded());
    let mut connection = connect(database).await?;
    let mut differences = dead_letters(&mut connection).await?;
    let mut compared = BTreeMap::new();
    differences.extend(unfinished_runs(&mut connection).await?);
    let addresses = world.users().into_iter().map(|user| (user.id, user.email)).collect();
    differences
        .extend(messages::ledger(&mut connection, (cloud.inbox(), reports), seeded, &addresses).await?);
    for (user, before) in world.users().iter().zip(&seeded.users) {
        let mut check = Check {
            db: &mut connection,
            world,
            seeded,
            user,
            before,
            now: world.now(),
            passed,
            part: "",
            compared: &mut compared,
            differences: &mut differences,
        };
        match passed {
            Passed::OneRun => check.one_run().await?,
            Passed::Days => check.days().await?,
        }
    }
    differences.extend(nothing_compared(passed, &compared));
    Ok(differences)
}

/// Tasks that ended without success.
pub(crate) async fn dead_letters(db: &mut PgConnection) -> anyhow::Result<Vec<Difference>> {
    let rows: Vec<(String, String, String, Option<Uuid>, i64)> = sqlx::query_as(
        "SELECT function, state, reason, user_id, count(*) FROM jobs.dead_letters GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(queue, state, reason, user, count)| Difference {
            user,
            what: format!("{count} dead letter(s) of {queue}, {state}: {reason}"),
        })
        .collect())
}

/// Syncs of contacts that began and of whose end nothing is known.
async fn unfinished_runs(db: &mut PgConnection) -> anyhow::Result<Vec<Difference>> {
    let users: Vec<Uuid> =
        sqlx::query_scalar("SELECT user_id FROM jobs.contacts_sync_state WHERE run IS NOT NULL")
            .fetch_all(db)
            .await?;
    let unfinished = |user| Difference {
        user: Some(user),
        what: "a run in jobs.contacts_sync_state has no end".to_owned(),
    };
    Ok(users.into_iter().map(unfinished).collect())
}

/// What Google's side of an integration comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Valid,
    ExpiringSoon,
    Revoked,
}

impl Health {
    fn of(grant: &Grant, now: DateTime<Utc>) -> Self {
        match (grant.state, &grant.refresh_token) {
            (GrantState::Granted, Some(_)) => Self::Valid,
            (GrantState::Granted, None) if grant.access_token_expires_at > now => Self::ExpiringSoon,
            (GrantState::Granted, None) | (GrantState::Revoked, _) => Self::Revoked,
        }
    }

    fn status(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::ExpiringSoon => "expiring_soon",
            Self::Revoked => "revoked",
        }
    }
}

/// What happened before a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// Every schedule ran once.
    OneRun,
    /// Days, at whose end everybody was synced.
    Days,
}

/// One user's comparison.
struct Check<'a> {
    db: &'a mut PgConnection,
    world: &'a World,
    seeded: &'a Seeded,
    user: &'a User,
    before: &'a SeededUser,
    now: DateTime<Utc>,
    passed: Passed,
    /// What is being compared.
    part: &'static str,
    /// How many comparisons of each part there were, of all users.
    compared: &'a mut BTreeMap<&'static str, usize>,
    differences: &'a mut Vec<Difference>,
}

/// Parts of a comparison; each must compare something.
const ONE_RUN: [&str; 8] =
    ["tokens", "syncs", "calendars", "contacts", "groups", "suggestions", "channels", "reminders"];
const DAYS: [&str; 5] = ["calendars", "suggestions", "channels", "reminders", "syncs"];

/// A comparison that compared nothing proves nothing.
fn nothing_compared(
    passed: Passed,
    compared: &BTreeMap<&'static str, usize>,
) -> impl Iterator<Item = Difference> {
    let parts: &[&str] = match passed {
        Passed::OneRun => &ONE_RUN,
        Passed::Days => &DAYS,
    };
    let empty = parts.iter().filter(|part| compared.get(**part).is_none_or(|count| *count == 0));
    empty.map(|part| Difference {
        user: None,
        what: format!(
            "nothing was compared of the users' {part}: the world is too small, or the comparison is broken"
        ),
    })
}

impl Check<'_> {
    async fn one_run(&mut self) -> anyhow::Result<()> {
        self.part = "tokens";
        self.tokens().await?;
        self.part = "syncs";
        self.syncs().await?;
        self.part = "calendars";
        self.calendar().await?;
        self.part = "contacts";
        self.contacts().await?;
        self.part = "groups";
        self.groups().await?;
        self.part = "suggestions";
        self.suggestions().await?;
        self.part = "channels";
        self.channels().await?;
        self.part = "reminders";
        self.reminders().await
    }

    async fn days(&mut self) -> anyhow::Result<()> {
        if self.is_synced(Integration::GoogleCalendar) {
            self.part = "calendars";
            self.calendar().await?;
            self.part = "suggestions";
            self.current_suggestions().await?;
        }
        self.part = "syncs";
        self.contacts_are_incremental().await?;
        self.part = "channels";
        self.open_channels().await?;
        self.part = "reminders";
        self.reminders().await
    }

    fn differs(&mut self, what: impl Into<String>) {
        self.differences.push(Difference { user: Some(self.user.id), what: what.into() });
    }

    /// Notes a difference between two values under the name of their place, without showing either.
    #[expect(clippy::needless_pass_by_value, reason = "what is compared is often made for it")]
    fn same<T: PartialEq>(&mut self, what: impl fmt::Display, found: T, expected: T) {
        *self.compared.entry(self.part).or_default() += 1;
        if found != expected {
            self.differs(format!("{what} differs"));
        }
    }

    /// Whether a sync must have happened.
    fn is_synced(&self, integration: Integration) -> bool {
        match self.passed {
            Passed::Days => self.is_granted(integration),
            Passed::OneRun => {
                let is_told = integration == Integration::GoogleCalendar && self.has_new_channel();
                self.is_due(integration) || is_told
            }
        }
    }

    /// Whether the schedule calls for the first sync, and nothing is in its way.
    fn is_due(&self, integration: Integration) -> bool {
        match self.before.start {
            Start::Due | Start::NoSchedule | Start::BreakerRetries => self.is_granted(integration),
            Start::NotDue | Start::BreakerOpen => false,
        }
    }

    fn is_granted(&self, integration: Integration) -> bool {
        let healthy = |grant: &Grant| Health::of(grant, self.now) != Health::Revoked;
        self.user.grant(integration).is_some_and(healthy)
    }
}

/// As much of a text as its column holds.
fn cut(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_any_comparison_is_a_difference() {
        let mut compared: BTreeMap<_, _> = DAYS.into_iter().map(|part| (part, 1)).collect();
        assert_eq!(nothing_compared(Passed::Days, &compared).count(), 0);
        compared.remove("suggestions");
        let differences: Vec<_> = nothing_compared(Passed::Days, &compared).collect();
        assert!(differences.len() == 1 && differences[0].what.contains("suggestions"), "{differences:?}");
        assert_eq!(nothing_compared(Passed::OneRun, &BTreeMap::new()).count(), ONE_RUN.len());
    }
}
