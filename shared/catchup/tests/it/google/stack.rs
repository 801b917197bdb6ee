//! A Google world of one's own, and a database that knows its users.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use catchup::google::{Calendar, People, Session, TokenCipher, Tokens};
use catchup::payload::Integration;
use chrono::TimeDelta;
use google_stand_in::{Call, Fault, FaultKind, SeedOptions, Times, World};
use local_cloud::seed::{self, Variety};
use local_cloud::{Background, Postgres};
use secrecy::{ExposeSecret, SecretString};
use shared::clock::Clock;
use shared::config::Config;
use shared::job::Setup;
use sqlx::PgConnection;
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

/// Users of the world by their place in it, as the stand-in seeds them.
pub(crate) const USUAL: usize = 0;
pub(crate) const NO_REFRESH_TOKEN: usize = 3;
pub(crate) const NOTHING_GRANTED: usize = 5;
pub(crate) const NO_REFRESH_TOKEN_YET_FRESH: usize = 8;
const USERS: usize = 9;

pub(crate) const APPLICATION: &str = "https://app.example.test";

/// One server for all tests of this process.
async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    POSTGRES.get_or_init(async || Postgres::start(None).await.expect("Postgres starts")).await
}

pub(crate) struct Stack {
    pub(crate) world: World,
    pub(crate) tokens: Tokens,
    pub(crate) calendar: Calendar,
    pub(crate) people: People,
    database: Url,
    cipher: TokenCipher,
    users: Vec<Uuid>,
    ahead_seconds: Arc<AtomicI64>,
    _google: Background,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let world = World::seeded(SeedOptions { users: USERS, max_contacts: 50, ..SeedOptions::default() });
        let google = Background::start("google", {
            let world = world.clone();
            |listener| {
                google_stand_in::serve(
                    listener,
                    world,
                    google_stand_in::Config::default(),
                    std::future::pending(),
                )
            }
        })
        .unwrap();
        let name = format!("test_{}", Uuid::new_v4().simple());
        let database = postgres().await.create_database(&name).await.unwrap();
        let key = seed::new_encryption_key();
        seed::seed(&database, &world, &key, Variety::Plain).await.unwrap();

        let client = google_stand_in::Config::default();
        let config = Config::from_pairs([
            ("DATABASE_URL", database.to_string()),
            ("ENCRYPTION_KEY", key.clone()),
            ("GOOGLE_CLIENT_ID", client.client_id),
            ("GOOGLE_CLIENT_SECRET", client.client_secret),
            ("GOOGLE_TOKEN_URL", format!("{}/token", google.url())),
            ("GOOGLE_API_URL", google.url()),
            ("APP_BASE_URL", format!("{APPLICATION}/")),
        ]);
        let ahead_seconds = Arc::<AtomicI64>::default();
        let clock = {
            let (ahead, machine) = (Arc::clone(&ahead_seconds), Clock::system());
            Clock::from_fn(move || machine.now() + TimeDelta::seconds(ahead.load(Ordering::SeqCst)))
        };
        let mut setup = Setup::with_clock(config, clock);
        Self {
            tokens: Tokens::new(&mut setup).unwrap(),
            calendar: Calendar::new(&mut setup).unwrap(),
            people: People::new(&mut setup).unwrap(),
            database,
            cipher: key.parse().unwrap(),
            users: world.users().iter().map(|user| user.id).collect(),
            world,
            ahead_seconds,
            _google: google,
        }
    }

    /// The user at that place.
    pub(crate) fn user(&self, place: usize) -> Uuid {
        self.users[place]
    }

    /// The usual user's primary calendar.
    pub(crate) fn primary(&self) -> String {
        self.world.calendars(self.user(USUAL)).unwrap()[0].id.clone()
    }

    /// The usual user's way into an API, with a token that Google takes.
    pub(crate) async fn session(&self, integration: Integration) -> Session {
        self.tokens.refresh(self.user(USUAL), integration).await.unwrap();
        Session::begin(&self.tokens, self.user(USUAL), integration).await.unwrap()
    }

    /// Lets time pass for the tokens, and for nothing else.
    pub(crate) fn advance(&self, by: TimeDelta) {
        self.ahead_seconds.fetch_add(by.num_seconds(), Ordering::SeqCst);
    }

    /// Makes the next call of the method go wrong.
    pub(crate) fn inject(&self, call: Call, kind: FaultKind) {
        self.world.inject(Fault::new(kind).call(call));
    }

    /// Makes all calls of the method go wrong.
    pub(crate) fn inject_forever(&self, call: Call, kind: FaultKind) {
        self.world.inject(Fault::new(kind).call(call).times(Times::Forever));
    }

    pub(crate) fn calls(&self, call: Call) -> u64 {
        self.world.total_calls().get(&call).copied().unwrap_or_default()
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        local_cloud::postgres::connect(&self.database).await.unwrap()
    }

    /// The stored access token and refresh token, as Google knows them.
    pub(crate) async fn stored(&self, user_id: Uuid, integration: Integration) -> (String, Option<String>) {
        let (access_token, refresh_token): (String, Option<String>) = sqlx::query_as(
            "SELECT access_token, refresh_token FROM oauth_tokens WHERE user_id = $1 AND provider = $2",
        )
        .bind(user_id)
        .bind(integration.as_str())
        .fetch_one(&mut self.connect().await)
        .await
        .unwrap();
        let plain = |stored: &str| self.cipher.decrypt(stored).unwrap().expose_secret().to_owned();
        (plain(&access_token), refresh_token.as_deref().map(plain))
    }

    /// Puts a token into the database as the application does when the user connects again.
    pub(crate) async fn store_access_token(&self, user_id: Uuid, integration: Integration, token: &str) {
        sqlx::query("UPDATE oauth_tokens SET access_token = $3 WHERE user_id = $1 AND provider = $2")
            .bind(user_id)
            .bind(integration.as_str())
            .bind(self.cipher.encrypt(&SecretString::from(token.to_owned())))
            .execute(&mut self.connect().await)
            .await
            .unwrap();
    }

    /// The health of a token; `None` when none was written.
    pub(crate) async fn health(&self, user_id: Uuid, integration: Integration) -> Option<String> {
        sqlx::query_scalar("SELECT status FROM token_health WHERE user_id = $1 AND integration_type = $2")
            .bind(user_id)
            .bind(integration.as_str())
            .fetch_optional(&mut self.connect().await)
            .await
            .unwrap()
    }

    /// Open notifications: type and link.
    pub(crate) async fn notices(&self, user_id: Uuid, integration: Integration) -> Vec<(String, String)> {
        sqlx::query_as(
            "SELECT notification_type, re_auth_link FROM token_health_notifications
             WHERE user_id = $1 AND integration_type = $2 AND resolved_at IS NULL ORDER BY created_at",
        )
        .bind(user_id)
        .bind(integration.as_str())
        .fetch_all(&mut self.connect().await)
        .await
        .unwrap()
    }
}
