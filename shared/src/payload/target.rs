//! What the tasks of a queue carry that a sweep fills with its own tasks.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Position;

/// Whom a task is about: all due users, a page at a time, or one user. `D` is what else a user's task says.
///
/// In JSON a field `userId` makes the difference, and the fields of `D` and of [`Position`] stand next to it:
///
/// ```
/// use shared::payload::{Position, Target};
///
/// let sweep: Target = serde_json::from_str("{}")?;
/// assert_eq!(sweep, Target::Sweep(Position::default()));
///
/// let user: Target = serde_json::from_str(r#"{"userId":"0b0e7f3c-7a2f-4c53-9d0b-0b2f6d6f1a11"}"#)?;
/// assert!(matches!(user, Target::User(_)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields<D>", into = "Fields<D>")]
#[serde(bound(serialize = "D: Clone + Default + Serialize", deserialize = "D: Deserialize<'de>"))]
pub enum Target<D = ()> {
    /// A sweep, and where it is.
    Sweep(Position),
    /// One user.
    User(UserTask<D>),
}

/// The task of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTask<D = ()> {
    /// Whose task.
    pub user_id: Uuid,
    /// What else the task says.
    pub details: D,
    /// The sweep that created the task, if one did.
    pub sweep_id: Option<String>,
}

impl<D: Default> UserTask<D> {
    /// The task of a user that no sweep creates.
    #[must_use]
    pub fn new(user_id: Uuid) -> Self {
        Self { user_id, details: D::default(), sweep_id: None }
    }
}

impl<D> UserTask<D> {
    /// The user, when a sweep created the task: what [`crate::sweep::user_task`] is told.
    #[must_use]
    pub fn swept(&self) -> Option<Uuid> {
        self.sweep_id.as_ref().map(|_| self.user_id)
    }
}

/// All fields, as they are sent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<D> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<Uuid>,
    #[serde(flatten)]
    details: D,
    #[serde(flatten)]
    position: Position,
}

impl<D> From<Fields<D>> for Target<D> {
    fn from(Fields { user_id, details, position }: Fields<D>) -> Self {
        match user_id {
            Some(user_id) => Self::User(UserTask { user_id, details, sweep_id: position.sweep_id }),
            None => Self::Sweep(position),
        }
    }
}

impl<D: Default> From<Target<D>> for Fields<D> {
    fn from(target: Target<D>) -> Self {
        match target {
            Target::Sweep(position) => Self { user_id: None, details: D::default(), position },
            Target::User(UserTask { user_id, details, sweep_id }) => Self {
                user_id: Some(user_id),
                details,
                position: Position { sweep_id, ..Position::default() },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Details {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        day_of_week: Option<u8>,
    }

    const USER_ID: Uuid = Uuid::from_u128(1);

    #[track_caller]
    fn check(target: &Target<Details>, json: &str) {
        assert_eq!(serde_json::to_string(target).unwrap(), json);
        assert_eq!(serde_json::from_str::<Target<Details>>(json).unwrap(), *target);
    }

    #[test]
    fn each_target_has_one_text() {
        let text = |text: &str| Some(text.to_owned());
        check(&Target::Sweep(Position::default()), "{}");
        check(
            &Target::Sweep(Position {
                cursor: Some(USER_ID),
                sweep_id: text("s"),
                scheduled_until: "2026-01-01T00:00:00Z".parse().ok(),
            }),
            r#"{"cursor":"00000000-0000-0000-0000-000000000001","sweepId":"s","scheduledUntil":"2026-01-01T00:00:00Z"}"#,
        );
        let user = UserTask::new(USER_ID);
        check(&Target::User(user.clone()), r#"{"userId":"00000000-0000-0000-0000-000000000001"}"#);
        let details = Details { day_of_week: Some(0) };
        check(
            &Target::User(UserTask { details, sweep_id: text("s"), ..user }),
            r#"{"userId":"00000000-0000-0000-0000-000000000001","dayOfWeek":0,"sweepId":"s"}"#,
        );
    }

    #[test]
    fn no_user_is_a_sweep_whatever_else_is_said() {
        for json in [r#"{"userId":null}"#, r#"{"batchSize":50,"offset":0}"#, r#"{"dayOfWeek":1}"#] {
            let target: Target<Details> = serde_json::from_str(json).unwrap();
            assert_eq!(target, Target::Sweep(Position::default()), "{json}");
        }
    }

    #[test]
    fn a_malformed_field_is_refused_in_sweeps_too() {
        for json in [r#"{"userId":1}"#, r#"{"dayOfWeek":"Sunday"}"#, r#"{"cursor":"first"}"#, "[]"] {
            serde_json::from_str::<Target<Details>>(json).unwrap_err();
        }
    }
}
