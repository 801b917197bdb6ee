//! What the application's database has about people, and what of it a job of the other side could harm.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgPool;

/// Every fact that a user would miss, or would not expect.
const FACTS: &str = "
    SELECT 'push channel' AS kind, channel_id::text AS fact FROM calendar_webhook_subscriptions
    UNION ALL SELECT 'open suggestion', id::text FROM suggestions WHERE status IN ('pending', 'snoozed')
    UNION ALL SELECT 'usable token', t.user_id || ' ' || t.provider FROM oauth_tokens t
        LEFT JOIN token_health h ON h.user_id = t.user_id AND h.integration_type = t.provider
        WHERE h.status IS DISTINCT FROM 'revoked'
    UNION ALL SELECT 'sync token of another page size', user_id::text FROM google_contacts_sync_state
        WHERE sync_token NOT LIKE 'pages of 100%'
    UNION ALL SELECT 'event', md5(e::text) FROM calendar_events e
    UNION ALL SELECT 'contact', md5(c::text) FROM contacts c
    UNION ALL SELECT 'notice', md5(n::text) FROM token_health_notifications n
    UNION ALL SELECT 'message', md5(d::text) FROM jobs.notification_deliveries d";
/// What is kept of the tables that the old jobs change.
const KEEP: &str = "
    CREATE SCHEMA kept;
    CREATE TABLE kept.channels AS TABLE calendar_webhook_subscriptions;
    CREATE TABLE kept.suggestions AS TABLE suggestions;
    CREATE TABLE kept.health AS TABLE token_health;
    CREATE TABLE kept.contacts AS TABLE google_contacts_sync_state";
const RESTORE: &str = "
    DELETE FROM calendar_webhook_subscriptions;
    INSERT INTO calendar_webhook_subscriptions SELECT * FROM kept.channels;
    DELETE FROM suggestions WHERE id NOT IN (SELECT id FROM kept.suggestions);
    UPDATE suggestions s SET status = k.status FROM kept.suggestions k WHERE k.id = s.id;
    DELETE FROM token_health;
    INSERT INTO token_health SELECT * FROM kept.health;
    UPDATE google_contacts_sync_state s SET sync_token = k.sync_token FROM kept.contacts k WHERE k.id = s.id";
const CLOSE: &str = "
    DELETE FROM calendar_webhook_subscriptions;
    UPDATE suggestions SET status = 'accepted' WHERE status IN ('pending', 'snoozed');
    INSERT INTO token_health (user_id, integration_type, status)
        SELECT user_id, provider, 'revoked' FROM oauth_tokens WHERE provider = 'google_calendar'
        ON CONFLICT (user_id, integration_type) DO UPDATE SET status = 'revoked'";
const FALSE_MARKS: &str = "SELECT count(*) FROM token_health
    WHERE status = 'revoked' AND error_message LIKE '%not yet implemented%'";

/// The people of the application's database.
pub(crate) struct People(PgPool);

/// All facts about them, by kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State(BTreeSet<(String, String)>);

impl People {
    /// Remembers what is there.
    pub(crate) async fn keep(database: PgPool) -> anyhow::Result<Self> {
        sqlx::raw_sql(KEEP).execute(&database).await?;
        Ok(Self(database))
    }

    /// What there is about them now.
    pub(crate) async fn state(&self) -> anyhow::Result<State> {
        let facts: Vec<(String, String)> = sqlx::query_as(FACTS).fetch_all(&self.0).await?;
        Ok(State(facts.into_iter().collect()))
    }

    /// Puts back what the old jobs changed.
    pub(crate) async fn restore(&self) -> anyhow::Result<()> {
        sqlx::raw_sql(RESTORE).execute(&self.0).await?;
        Ok(())
    }

    /// Ends all that keeps a queue from being given back: channels end, suggestions are accepted, calendars are disconnected.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        sqlx::raw_sql(CLOSE).execute(&self.0).await?;
        Ok(())
    }

    /// Tokens that only the old service calls revoked.
    pub(crate) async fn false_marks(&self) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar(FALSE_MARKS).fetch_one(&self.0).await?)
    }
}

impl State {
    /// How a later state differs, in words; `None` if it does not.
    pub(crate) fn harm(&self, later: &Self) -> Option<String> {
        let count = |facts: Vec<&(String, String)>| {
            let mut kinds = BTreeMap::<String, usize>::new();
            for (kind, _) in facts {
                *kinds.entry(kind.clone()).or_default() += 1;
            }
            kinds
        };
        let lost = count(self.0.difference(&later.0).collect());
        let new = count(later.0.difference(&self.0).collect());
        let say = |(kinds, how): (BTreeMap<String, usize>, &'static str)| {
            kinds.into_iter().map(move |(kind, count)| format!("{how} of kind {kind}: {count}"))
        };
        let said: Vec<_> = [(lost, "gone"), (new, "new")].into_iter().flat_map(say).collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_is_harm() {
        let state = |facts: &[(&str, &str)]| {
            State(facts.iter().map(|(kind, fact)| ((*kind).to_owned(), (*fact).to_owned())).collect())
        };
        let before = state(&[("channel", "a"), ("channel", "b"), ("contact", "c")]);
        assert_eq!(before.harm(&before), None);
        let after = state(&[("contact", "c"), ("message", "d")]);
        let harm = before.harm(&after).unwrap();
        assert_eq!(harm, "gone of kind channel: 2, new of kind message: 1");
    }
}
