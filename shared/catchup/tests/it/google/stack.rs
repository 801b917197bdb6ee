//! A Google world of one's own, and a database that knows its users.

use std::collections::BTreeMap;

use catchup::google::{Calendar, People, Session, TokenCipher, Tokens};
use catchup::payload::Integration;
use chrono::TimeDelta;
use google_stand_in::{Call, Fault, FaultKind, SeedOptions, Times, World};
use secrecy::{ExposeSecret, SecretString};
use shared::config::Config;
use shared::job::Setup;
use sqlx::PgConnection;
use tests::{AheadClock, Database, Google};
use uuid::Uuid;

/// Users of the world by their place in it, as the stand-in seeds them.
pub(crate) const USUAL: usize = 0;
pub(crate) const NO_REFRESH_TOKEN: usize = 3;
pub(crate) const NOTHING_GRANTED: usize = 5;
pub(crate) const NO_REFRESH_TOKEN_YET_FRESH: usize = 8;
/// Others whose calendar tokens work.
pub(crate) const WORKING: [usize; 3] = [1, 4, 6];
const USERS: usize = 9;

pub(crate) const APPLICATION: &str = "https://app.example.test";

pub(crate) struct Stack {
    pub(crate) world: World,
    pub(crate) tokens: Tokens,
    pub(crate) calendar: Calendar,
    pub(crate) people: People,
    database: Database,
    cipher: TokenCipher,
    users: Vec<Uuid>,
    time: AheadClock,
    _google: Google,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let database = Database::new().await;
        let options = SeedOptions { users: USERS, max_contacts: 50, ..SeedOptions::default() };
        let google = Google::start_at(&database.url, options).await;
        let mut environment = BTreeMap::from(google.environment());
        environment.insert("DATABASE_URL", database.url.to_string());
        environment.insert("APP_BASE_URL", format!("{APPLICATION}/"));
        let cipher = environment["ENCRYPTION_KEY"].parse().unwrap();
        let time = AheadClock::default();
        let mut setup = Setup::with_clock(Config::from_pairs(environment), time.clock());
        Self {
            tokens: Tokens::new(&mut setup).unwrap(),
            calendar: Calendar::new(&mut setup).unwrap(),
            people: People::new(&mut setup).unwrap(),
            database,
            cipher,
            users: google.world.users().iter().map(|user| user.id).collect(),
            world: google.world.clone(),
            time,
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
        self.time.advance(by);
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
        self.database.connect().await
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

    /// Whose calls wait, and how often in a row Google said so.
    pub(crate) async fn waits(&self) -> Vec<(Uuid, i32)> {
        sqlx::query_as("SELECT user_id, times FROM jobs.google_waits")
            .fetch_all(&mut self.connect().await)
            .await
            .unwrap()
    }

    /// What open notifications say.
    pub(crate) async fn messages(&self, user_id: Uuid, integration: Integration) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT message FROM token_health_notifications
             WHERE user_id = $1 AND integration_type = $2 AND resolved_at IS NULL",
        )
        .bind(user_id)
        .bind(integration.as_str())
        .fetch_all(&mut self.connect().await)
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
