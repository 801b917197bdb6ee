//! A notifier of one's own, and whom it talks to.

use std::collections::BTreeMap;
use std::time::Duration;

use catchup::db::deliveries::Deliveries;
use catchup::notify::message::Suggestion;
use catchup::notify::{Notifier, Recipient, Timeouts};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use messaging_stand_in::{Channel, Fault, Inbox, Kind, Message};
use shared::config::Config;
use shared::job::Setup;
use sqlx::PgConnection;
use tests::messaging::Smtp;
use tests::{AheadClock, Database, Messaging, Upstash};
use uuid::Uuid;

pub(crate) const NUMBER: &str = "+4915112345678";
pub(crate) const ADDRESS: &str = "ana@example.org";

const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), answer: Duration::from_secs(20) };

/// E-mail provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mail {
    SendGrid,
    Smtp,
}

pub(crate) struct Stack {
    pub(crate) notifier: Notifier,
    pub(crate) inbox: Inbox,
    pub(crate) deliveries: Deliveries,
    environment: BTreeMap<&'static str, String>,
    time: AheadClock,
    database: Database,
    _servers: (Upstash, Messaging, Smtp),
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(Mail::SendGrid).await
    }

    pub(crate) async fn start_with(mail: Mail) -> Self {
        let (database, upstash) = (Database::new().await, Upstash::start().await);
        let messaging = Messaging::start();
        let smtp = messaging.smtp();
        let mut environment = BTreeMap::from(messaging.environment());
        environment.extend(upstash.environment());
        environment.extend(smtp.environment());
        environment.insert("DATABASE_URL", database.url.to_string());
        if mail == Mail::SendGrid {
            environment.insert("EMAIL_PROVIDER", "sendgrid".to_owned());
        }
        let time = AheadClock::default();
        let deliveries = Deliveries::new(&Setup::new(Config::from_pairs(environment.clone()))).unwrap();
        Self {
            notifier: notifier(environment.clone(), &time, TIMEOUTS),
            inbox: messaging.inbox.clone(),
            deliveries,
            environment,
            time,
            database,
            _servers: (upstash, messaging, smtp),
        }
    }

    /// As another process would have it, with another value for a variable.
    pub(crate) fn notifier_with(&self, name: &'static str, value: &str) -> Notifier {
        let mut environment = self.environment.clone();
        environment.insert(name, value.to_owned());
        notifier(environment, &self.time, TIMEOUTS)
    }

    /// As another process would have it, which does not wait long for what will not come.
    pub(crate) fn notifier_for(&self, kind: Kind) -> Notifier {
        let answer = match kind {
            Kind::Slow { .. } | Kind::AcceptThenSlow { .. } => Duration::from_secs(2),
            Kind::Status { .. }
            | Kind::StatusAfterData { .. }
            | Kind::Reset
            | Kind::ResetAfterAccept
            | Kind::AcceptThenStatus { .. }
            | Kind::AcceptThenGarbage => TIMEOUTS.answer,
        };
        notifier(self.environment.clone(), &self.time, Timeouts { answer, ..TIMEOUTS })
    }

    /// What a variable says.
    pub(crate) fn value(&self, name: &str) -> &str {
        &self.environment[name]
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.time.clock().now()
    }

    /// Lets time pass for the notifiers, and for nothing else.
    pub(crate) fn advance(&self, by: TimeDelta) {
        self.time.advance(by);
    }

    /// Makes the next message go wrong.
    pub(crate) fn fault(&self, channel: Channel, kind: Kind) {
        self.inbox.fault(Fault::new(channel, kind));
    }

    /// The text messages and e-mails that were accepted.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.inbox.messages()
    }

    /// The ledger: subject, channel, state, and the provider's id or refusal.
    pub(crate) async fn ledger(&self) -> Vec<(String, String, String, Option<String>)> {
        sqlx::query_as(
            "SELECT subject, channel, state, coalesce(provider_id, refusal)
             FROM jobs.notification_deliveries ORDER BY subject, channel",
        )
        .fetch_all(&mut self.connect().await)
        .await
        .unwrap()
    }

    /// The states in the ledger.
    pub(crate) async fn states(&self) -> Vec<String> {
        self.ledger().await.into_iter().map(|(_, _, state, _)| state).collect()
    }

    /// Our ids of the messages in the ledger.
    pub(crate) async fn message_ids(&self) -> Vec<Uuid> {
        sqlx::query_scalar("SELECT DISTINCT message_id FROM jobs.notification_deliveries")
            .fetch_all(&mut self.connect().await)
            .await
            .unwrap()
    }

    async fn connect(&self) -> PgConnection {
        self.database.connect().await
    }
}

fn notifier(environment: BTreeMap<&'static str, String>, time: &AheadClock, timeouts: Timeouts) -> Notifier {
    let mut setup = Setup::with_clock(Config::from_pairs(environment), time.clock());
    Notifier::new(&mut setup, timeouts)
        .unwrap_or_else(|_| panic!("the environment cannot be used: {:?}", setup.config().problems()))
}

pub(crate) fn recipient() -> Recipient {
    let zone = Tz::Europe__Berlin;
    Recipient {
        user_id: Uuid::new_v4(),
        name: Some("Sam".to_owned()),
        zone,
        own_zone: Some(zone),
        is_first_text: false,
    }
}

pub(crate) fn suggestion(name: &str) -> Suggestion {
    let start = "2026-11-24T17:30:00Z".parse().unwrap();
    Suggestion {
        id: Uuid::new_v4(),
        contacts: vec![name.to_owned()],
        start,
        end: start + TimeDelta::hours(1),
        reasoning: "You last met 40 days ago.".to_owned(),
        acts: None,
    }
}
