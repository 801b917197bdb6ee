//! The complete environment of a function in the local cloud.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use catchup::variables::{
    APP_BASE_URL, CALENDAR_WEBHOOK_URL, ENCRYPTION_KEY, GOOGLE_API_URL, GOOGLE_CLIENT_ID,
    GOOGLE_CLIENT_SECRET, GOOGLE_TOKEN_URL, LINK_SIGNING_KEYS, POSTAL_ADDRESS, SENDGRID_API_KEY,
    SENDGRID_API_URL, SENDGRID_FROM_EMAIL, SENDGRID_WEBHOOK_PUBLIC_KEY, TWILIO_ACCOUNT_SID, TWILIO_API_URL,
    TWILIO_AUTH_TOKEN, TWILIO_PHONE_NUMBER, WEBHOOKS_URL,
};
use messaging_stand_in::SENDGRID_PUBLIC_KEY;
use shared::config::Variable;
use shared::config::variables::{
    CLOUD_RUN_URL, CLOUD_TASKS_URL, DATABASE_URL, DEBOUNCE_DIVISOR, GCP_PROJECT_ID, GCP_REGION, HOST,
    LEASE_DIVISOR, OIDC_ISSUER, OIDC_JWKS_URL, PORT, RETRY_BACKOFF_DIVISOR, SERVICE_ACCOUNT_EMAIL,
    UPSTASH_REDIS_REST_TOKEN, UPSTASH_REDIS_REST_URL,
};

use crate::tasks::Settings;

/// Variables of a process and their values.
pub type Environment = BTreeMap<&'static str, String>;

/// Nothing listens on this port of loopback.
const UNREACHABLE: &str = "http://127.0.0.1:1";

/// Key of the links in messages.
const LINK_SIGNING_KEY: &str = "5d1f6c0e3a9b4827d05e8c7f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

/// Adds a variable by its declaration.
fn set(environment: &mut Environment, variable: &Variable, value: &(impl ToString + ?Sized)) {
    environment.insert(variable.name, value.to_string());
}

/// Where a process listens.
#[must_use]
pub fn listening_on(address: SocketAddr) -> Environment {
    let mut environment = Environment::new();
    set(&mut environment, &HOST, &address.ip());
    set(&mut environment, &PORT, &address.port());
    environment
}

/// What a function needs to know of the world around it, here of the local cloud.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints<'a> {
    /// The prepared database.
    pub database: &'a str,
    /// Redis over HTTP.
    pub redis_url: &'a str,
    /// Its token.
    pub redis_token: &'a str,
    /// Names of the queues and their functions.
    pub settings: &'a Settings,
    /// Cloud Tasks.
    pub tasks_url: &'a str,
    /// Issuer of the identity tokens with which the functions are called.
    pub oidc_issuer: &'a str,
    /// Its keys.
    pub oidc_jwks_url: &'a str,
    /// Google's endpoints, token endpoint included.
    pub google_url: &'a str,
    /// Where Google sends push notifications.
    pub push_url: &'a str,
    /// Where links in messages and providers' callbacks lead.
    pub webhooks_url: &'a str,
    /// Twilio's and `SendGrid`'s endpoints.
    pub messaging_url: &'a str,
    /// Key of the tokens in the database.
    pub encryption_key: &'a str,
}

impl<'a> Endpoints<'a> {
    /// Endpoints at which nothing listens: enough for a function to start, which calls no server before its first task.
    #[must_use]
    pub fn unreachable(settings: &'a Settings) -> Self {
        Self {
            database: "postgres://unknown@127.0.0.1:1/none",
            redis_url: UNREACHABLE,
            redis_token: "none",
            settings,
            tasks_url: UNREACHABLE,
            oidc_issuer: UNREACHABLE,
            oidc_jwks_url: UNREACHABLE,
            google_url: UNREACHABLE,
            push_url: UNREACHABLE,
            webhooks_url: UNREACHABLE,
            messaging_url: UNREACHABLE,
            encryption_key: "0000000000000000000000000000000000000000000000000000000000000000",
        }
    }

    /// The same for all functions, and complete but for [`listening_on`].
    #[must_use]
    pub fn environment(&self) -> Environment {
        let mut environment = Environment::new();
        let settings = self.settings;
        let google = google_stand_in::Config::default();
        let messaging = messaging_stand_in::Config::default();
        let token_url = format!("{}/token", self.google_url);
        for (variable, value) in [
            (&APP_BASE_URL, "https://app.example.test"),
            (&CALENDAR_WEBHOOK_URL, self.push_url),
            (&CLOUD_RUN_URL, &settings.functions_url),
            (&CLOUD_TASKS_URL, self.tasks_url),
            (&DATABASE_URL, self.database),
            (&ENCRYPTION_KEY, self.encryption_key),
            (&GCP_PROJECT_ID, &settings.project),
            (&GCP_REGION, &settings.region),
            (&GOOGLE_API_URL, self.google_url),
            (&GOOGLE_CLIENT_ID, &google.client_id),
            (&GOOGLE_CLIENT_SECRET, &google.client_secret),
            (&GOOGLE_TOKEN_URL, &token_url),
            (&LINK_SIGNING_KEYS, LINK_SIGNING_KEY),
            (&OIDC_ISSUER, self.oidc_issuer),
            (&OIDC_JWKS_URL, self.oidc_jwks_url),
            (&POSTAL_ADDRESS, "CatchUp, 1 Sample Street, Springfield"),
            (&RETRY_BACKOFF_DIVISOR, &settings.backoff_divisor.max(1).to_string()),
            (&DEBOUNCE_DIVISOR, &settings.debounce_divisor.max(1).to_string()),
            (&LEASE_DIVISOR, &settings.lease_divisor.max(1).to_string()),
            (&SENDGRID_API_KEY, &messaging.api_key),
            (&SENDGRID_API_URL, self.messaging_url),
            (&SENDGRID_FROM_EMAIL, &messaging.from_email),
            (&SENDGRID_WEBHOOK_PUBLIC_KEY, SENDGRID_PUBLIC_KEY),
            (&SERVICE_ACCOUNT_EMAIL, &settings.caller),
            (&TWILIO_ACCOUNT_SID, &messaging.account_sid),
            (&TWILIO_API_URL, self.messaging_url),
            (&TWILIO_AUTH_TOKEN, &messaging.auth_token),
            (&TWILIO_PHONE_NUMBER, &messaging.phone_number),
            (&UPSTASH_REDIS_REST_TOKEN, self.redis_token),
            (&UPSTASH_REDIS_REST_URL, self.redis_url),
            (&WEBHOOKS_URL, self.webhooks_url),
        ] {
            set(&mut environment, variable, value);
        }
        environment
    }
}
