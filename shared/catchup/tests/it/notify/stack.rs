//! A notifier of one's own, and whom it talks to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use catchup::db::deliveries::Deliveries;
use catchup::notify::message::Suggestion;
use catchup::notify::{Notifier, Recipient, Timeouts};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use local_cloud::{Background, Postgres, Redis};
use messaging_stand_in::{Channel, Fault, Inbox, Kind, Message};
use shared::clock::Clock;
use shared::config::Config;
use shared::job::Setup;
use sqlx::PgConnection;
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

pub(crate) const NUMBER: &str = "+4915112345678";
pub(crate) const ADDRESS: &str = "ana@example.org";

const REDIS_TOKEN: &str = "token-of-the-tests";
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), answer: Duration::from_secs(20) };

/// One server for all tests of this process.
async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    POSTGRES.get_or_init(async || Postgres::start(None).await.expect("Postgres starts")).await
}

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
    environment: Vec<(&'static str, String)>,
    clock: Clock,
    database: Url,
    ahead_seconds: Arc<AtomicI64>,
    _servers: (Background, Background, Background, Redis),
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(Mail::SendGrid).await
    }

    pub(crate) async fn start_with(mail: Mail) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let database = postgres().await.create_database(&name).await.unwrap();
        let redis = Redis::start(None).await.unwrap();
        let gateway = upstash_gateway::Config::new(redis.url(), REDIS_TOKEN);
        let gateway = Background::start("gateway", |listener| {
            upstash_gateway::serve(listener, gateway, std::future::pending())
        })
        .unwrap();
        let inbox = Inbox::default();
        let account = messaging_stand_in::Config::default();
        let http = Background::start("messaging", {
            let (inbox, account) = (inbox.clone(), account.clone());
            |listener| messaging_stand_in::serve(listener, inbox, account, std::future::pending())
        })
        .unwrap();
        let smtp = Background::start("smtp", {
            let (inbox, account) = (inbox.clone(), account.clone());
            |listener| messaging_stand_in::serve_smtp(listener, inbox, account, std::future::pending())
        })
        .unwrap();
        let provider = match mail {
            Mail::SendGrid => "sendgrid",
            Mail::Smtp => "smtp",
        };
        let environment = vec![
            ("DATABASE_URL", database.to_string()),
            ("UPSTASH_REDIS_REST_URL", gateway.url()),
            ("UPSTASH_REDIS_REST_TOKEN", REDIS_TOKEN.to_owned()),
            ("APP_BASE_URL", "https://app.example.test".to_owned()),
            ("TWILIO_API_URL", http.url()),
            ("TWILIO_ACCOUNT_SID", account.account_sid),
            ("TWILIO_AUTH_TOKEN", account.auth_token),
            ("TWILIO_PHONE_NUMBER", account.phone_number),
            ("EMAIL_PROVIDER", provider.to_owned()),
            ("SENDGRID_API_URL", http.url()),
            ("SENDGRID_API_KEY", account.api_key),
            ("SENDGRID_FROM_EMAIL", account.from_email.clone()),
            (
                "SMTP_URL",
                format!("smtp://{}:{}@{}", account.smtp_user, account.smtp_password, smtp.address()),
            ),
            ("SMTP_FROM_EMAIL", account.from_email),
        ];
        let ahead_seconds = Arc::<AtomicI64>::default();
        let clock = {
            let (ahead, machine) = (Arc::clone(&ahead_seconds), Clock::system());
            Clock::from_fn(move || machine.now() + TimeDelta::seconds(ahead.load(Ordering::SeqCst)))
        };
        let setup = Setup::new(Config::from_pairs(environment.clone()));
        let deliveries = Deliveries::new(&setup).unwrap();
        let notifier = notifier(environment.clone(), &clock, TIMEOUTS);
        Self {
            notifier,
            inbox,
            deliveries,
            environment,
            clock,
            database,
            ahead_seconds,
            _servers: (gateway, http, smtp, redis),
        }
    }

    /// As another process would have it, with another value for a variable.
    pub(crate) fn notifier_with(&self, name: &'static str, value: &str) -> Notifier {
        let mut environment = self.environment.clone();
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value.to_owned()));
        notifier(environment, &self.clock, TIMEOUTS)
    }

    /// As another process would have it, which does not wait long for what will not come.
    pub(crate) fn notifier_for(&self, kind: Kind) -> Notifier {
        let answer = match kind {
            Kind::Slow { .. } | Kind::AcceptThenSlow { .. } => Duration::from_secs(2),
            Kind::Status { .. }
            | Kind::Reset
            | Kind::ResetAfterAccept
            | Kind::AcceptThenStatus { .. }
            | Kind::AcceptThenGarbage => TIMEOUTS.answer,
        };
        notifier(self.environment.clone(), &self.clock, Timeouts { answer, ..TIMEOUTS })
    }

    /// What a variable says.
    pub(crate) fn value(&self, name: &str) -> &str {
        &self.environment.iter().find(|(other, _)| *other == name).unwrap().1
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Lets time pass for the notifiers, and for nothing else.
    pub(crate) fn advance(&self, by: TimeDelta) {
        self.ahead_seconds.fetch_add(by.num_seconds(), Ordering::SeqCst);
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

    async fn connect(&self) -> PgConnection {
        local_cloud::postgres::connect(&self.database).await.unwrap()
    }
}

fn notifier(environment: Vec<(&'static str, String)>, clock: &Clock, timeouts: Timeouts) -> Notifier {
    let mut setup = Setup::with_clock(Config::from_pairs(environment), clock.clone());
    Notifier::new(&mut setup, timeouts)
        .unwrap_or_else(|_| panic!("the environment cannot be used: {:?}", setup.config().problems()))
}

pub(crate) fn recipient() -> Recipient {
    Recipient { user_id: Uuid::new_v4(), zone: Tz::Europe__Berlin }
}

pub(crate) fn suggestion(name: &str) -> Suggestion {
    let start = "2026-11-24T17:30:00Z".parse().unwrap();
    Suggestion {
        id: Uuid::new_v4(),
        contacts: vec![name.to_owned()],
        start,
        end: start + TimeDelta::hours(1),
        reasoning: "You last met 40 days ago.".to_owned(),
    }
}
