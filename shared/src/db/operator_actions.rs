//! `jobs.operator_actions`: what operators do, written before anything is changed.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Database, Error, shortened};

/// Longest reason that is kept.
const TEXT_CHARS: usize = 1000;

/// What is done, as the database spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// A queue holds its tasks.
    Pause,
    /// A queue dispatches its tasks again.
    Resume,
    /// Dead letters become tasks again.
    Replay,
    /// Dead letters are deleted.
    Discard,
    /// The lease of a run is taken from it.
    Release,
    /// A task is dispatched before its time.
    RunTask,
    /// A task that waits is deleted.
    DeleteTask,
    /// A task is created.
    Enqueue,
    /// A schedule creates its task before its time.
    RunSchedule,
    /// A schedule creates no tasks.
    PauseSchedule,
    /// A schedule creates its tasks again.
    ResumeSchedule,
    /// What became of a message of unknown status is recorded.
    Settle,
    /// What is kept of a user is deleted.
    Forget,
    /// A bulk ends early.
    Cancel,
    /// A bulk that stands still is run, or one that runs is waited for.
    ContinueBulk,
    /// A bulk runs at another rate.
    ChangeRate,
    /// The cause of an error is said to be gone.
    FixError,
    /// An error is not shown until it has happened more often.
    IgnoreError,
    /// An error is shown again.
    ReopenError,
    /// What is cached of a user is made anew.
    DropCache,
}

/// Where an operator asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
pub enum Via<'a> {
    /// `ops`.
    #[strum(serialize = "command line")]
    CommandLine,
    /// A page of the console.
    #[strum(serialize = "console")]
    Console,
    /// The same, by whom a proxy verified: this is recorded instead of the user of the database session, who is the console.
    #[strum(serialize = "console")]
    ConsoleOf(&'a str),
}

impl<'a> Via<'a> {
    fn who(self) -> Option<&'a str> {
        match self {
            Self::ConsoleOf(who) => Some(who),
            Self::CommandLine | Self::Console => None,
        }
    }
}

/// An action that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewAction<'a> {
    /// What.
    pub action: Action,
    /// Where it is asked for.
    pub via: Via<'a>,
    /// The function, if it is about one.
    pub function: Option<&'a str>,
    /// The user, if it is about one.
    pub user_id: Option<Uuid>,
    /// What it acts on, as it can be asked for again.
    pub filter: &'a Value,
    /// On how many.
    pub count: usize,
    /// The operator's reason.
    pub why: &'a str,
}

/// How a bulk runs.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Dead letters per second.
    pub rate: i32,
    /// It also replays what was replayed before and has not died since.
    pub again: bool,
}

/// An action as it is kept.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAction {
    /// Names it.
    pub id: Uuid,
    /// When it began.
    pub at: DateTime<Utc>,
    /// The user of the database session, or who was verified.
    pub who: String,
    /// Where it was asked for.
    pub via: String,
    /// What.
    pub action: String,
    /// The function, if it is about one.
    pub function: Option<String>,
    /// What it acts on.
    pub filter: Value,
    /// On how many.
    pub count: i64,
    /// The operator's reason.
    pub why: String,
    /// Not while it is under way, and never if it was cut off.
    pub ended_at: Option<DateTime<Utc>>,
    /// How many it has changed.
    pub changed: Option<i64>,
    /// It is continued if it is cut off.
    pub is_bulk: bool,
}

/// The last word on whether a queue is held.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The function.
    pub function: String,
    /// `pause` or `resume`.
    pub action: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The user of the database session.
    pub who: String,
    /// The operator's reason.
    pub why: String,
    /// All queues were meant, and not this one.
    pub is_of_all: bool,
}

/// What operators did.
#[derive(Debug, Clone)]
pub struct OperatorActions(Database);

impl From<Database> for OperatorActions {
    fn from(database: Database) -> Self {
        Self(database)
    }
}

impl OperatorActions {
    /// Writes that an action begins, and returns its id.
    pub async fn begin(&self, new: &NewAction<'_>, now: DateTime<Utc>) -> Result<Uuid, Error> {
        let id = Uuid::new_v4();
        insert(self.0.statement(), id, new, None, now).await?;
        Ok(id)
    }

    /// Writes that it has ended, and how many it has changed.
    pub async fn end(&self, id: Uuid, changed: usize, now: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE jobs.operator_actions SET ended_at = $2, changed = $3 WHERE id = $1",
            id,
            now,
            i64::try_from(changed).unwrap_or(i64::MAX),
        )
        .execute(self.0.statement())
        .await?;
        Ok(())
    }

    /// The last ones, newest first.
    pub async fn list(&self, limit: u32) -> Result<Vec<StoredAction>, Error> {
        let actions = sqlx::query_as!(
            StoredAction,
            r#"
            SELECT id, at, who, via, action, function, filter, count, why, ended_at, changed, rate IS NOT NULL AS "is_bulk!"
            FROM jobs.operator_actions ORDER BY at DESC LIMIT $1
            "#,
            i64::from(limit),
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(actions)
    }

    /// Of each of these functions the last pause or resume, if there was one.
    pub async fn holds(&self, functions: &[&str]) -> Result<Vec<Hold>, Error> {
        let holds = sqlx::query_as!(
            Hold,
            r#"
            SELECT last.function AS "function!", last.action AS "action!", last.at AS "at!", last.who AS "who!",
                   last.why AS "why!", last.is_of_all AS "is_of_all!"
            FROM UNNEST($1::text[]) AS asked (function)
            CROSS JOIN LATERAL (
                SELECT function, action, at, who, why, COALESCE((filter ->> 'all')::boolean, false) AS is_of_all
                FROM jobs.operator_actions
                WHERE function = asked.function AND action IN ('pause', 'resume')
                ORDER BY at DESC LIMIT 1
            ) AS last
            "#,
            functions as _,
        )
        .fetch_all(self.0.statement())
        .await?;
        Ok(holds)
    }
}

/// Writes that an action, or with a pace a bulk, begins; returns whether it has not begun before.
pub(super) async fn insert(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    new: &NewAction<'_>,
    pace: Option<Pace>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let inserted = sqlx::query!(
        "
        INSERT INTO jobs.operator_actions (id, at, who, via, action, function, user_id, filter, count, why, rate, again)
        VALUES ($1, $2, COALESCE($12::text, session_user), $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (id) DO NOTHING
        ",
        id,
        now,
        <&str>::from(new.via),
        <&str>::from(new.action),
        new.function,
        new.user_id,
        new.filter,
        i64::try_from(new.count).unwrap_or(i64::MAX),
        shortened(new.why, TEXT_CHARS),
        pace.map(|pace| pace.rate),
        pace.map(|pace| pace.again),
        new.via.who().map(|who| shortened(who, TEXT_CHARS)),
    )
    .execute(executor)
    .await?;
    Ok(inserted.rows_affected() == 1)
}
