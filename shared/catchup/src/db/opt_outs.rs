//! `jobs.opt_outs`: of which lists of messages people opted out.

use chrono::{DateTime, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::deliveries::Channel;

/// What messages are about: leaving one list does not leave the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum List {
    /// Suggestions.
    Ideas,
    /// What the account depends on: reminders of tokens.
    Account,
}

impl List {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ideas, Self::Account];
}

/// Why a person opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// The person replied STOP, or the provider says that they did.
    Stop,
    /// The person followed the link of an e-mail.
    Unsubscribe,
    /// The person called an e-mail spam.
    Complaint,
}

/// What a person said.
#[derive(Debug, Clone, Copy)]
pub struct OptOut<'a> {
    /// Of which channel.
    pub channel: Channel,
    /// Of which lists.
    pub lists: &'a [List],
    /// Why.
    pub reason: Reason,
    /// Names the callback that says so, which counts once; `None` for what counts each time that it is said.
    pub callback: Option<&'a str>,
}

handle! {
    /// `jobs.opt_outs`: of which lists of messages people opted out.
    OptOuts
}

impl OptOuts {
    /// A person leaves lists of a channel. Leaving the ideas is also written where the application shows it. `false` when the
    /// callback was handled before, or there is no such user.
    pub async fn opt_out(
        &self,
        user_id: Uuid,
        opt_out: OptOut<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let lists: Vec<&str> = opt_out.lists.iter().map(|list| (*list).into()).collect();
        let reason: &str = opt_out.reason.into();
        let is_shown = opt_out.lists.contains(&List::Ideas);
        let opted_out = sqlx::query_scalar!(
            r#"
            WITH handled AS (
                INSERT INTO jobs.handled_callbacks (id, handled_at) SELECT $6, $7 WHERE $6::text IS NOT NULL
                ON CONFLICT DO NOTHING
                RETURNING id
            ), person AS (
                SELECT id, timezone FROM users WHERE id = $1 AND ($6::text IS NULL OR EXISTS (SELECT FROM handled))
            ), opted_out AS (
                INSERT INTO jobs.opt_outs (user_id, channel, list, reason, is_shown, since)
                SELECT person.id, $2, list, $4, $5, $7 FROM person, unnest($3::text[]) list
                ON CONFLICT (user_id, channel, list) DO UPDATE
                SET reason = excluded.reason, is_shown = excluded.is_shown, since = excluded.since
            ), shown AS (
                INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled, timezone)
                SELECT person.id, $2 <> 'sms', false, COALESCE(person.timezone, 'UTC') FROM person WHERE $5
                ON CONFLICT (user_id) DO UPDATE
                SET sms_enabled = notification_preferences.sms_enabled AND $2 <> 'sms',
                    email_enabled = notification_preferences.email_enabled AND $2 <> 'email'
            )
            SELECT EXISTS (SELECT FROM person) AS "opted_out!"
            "#,
            user_id,
            opt_out.channel.as_str(),
            lists.as_slice() as _,
            reason,
            is_shown,
            opt_out.callback,
            now,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(opted_out)
    }

    /// A person wants a channel again: also written where the application shows it. `false` when the callback was handled before,
    /// or the person had not opted out.
    pub async fn opt_in(
        &self,
        user_id: Uuid,
        channel: Channel,
        callback: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let opted_in = sqlx::query_scalar!(
            r#"
            WITH handled AS (
                INSERT INTO jobs.handled_callbacks (id, handled_at) VALUES ($3, $4)
                ON CONFLICT DO NOTHING
                RETURNING id
            ), lifted AS (
                DELETE FROM jobs.opt_outs
                WHERE user_id = $1 AND channel = $2 AND EXISTS (SELECT FROM handled)
                RETURNING is_shown
            ), shown AS (
                UPDATE notification_preferences
                SET sms_enabled = sms_enabled OR $2 = 'sms', email_enabled = email_enabled OR $2 = 'email'
                WHERE user_id = $1 AND EXISTS (SELECT FROM lifted WHERE is_shown)
            )
            SELECT EXISTS (SELECT FROM lifted) AS "opted_in!"
            "#,
            user_id,
            channel.as_str(),
            callback,
            now,
        )
        .fetch_one(self.0.statement())
        .await?;
        Ok(opted_in)
    }

    /// Whose verified number that is, E.164.
    pub async fn owner(&self, number: &str) -> Result<Option<Uuid>, Error> {
        let owner = sqlx::query_scalar!(
            "SELECT user_id FROM user_phone_numbers WHERE phone_number = $1 AND verified",
            number
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(owner)
    }
}
