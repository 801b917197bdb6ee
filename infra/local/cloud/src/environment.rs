//! The complete environment of a function in the local cloud.

use shared::config::Variable;
use shared::config::variables::{
    APP_BASE_URL, CLOUD_RUN_URL, CLOUD_TASKS_URL, DATABASE_URL, ENCRYPTION_KEY, GCP_PROJECT_ID, GCP_REGION,
    GOOGLE_API_URL, GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, GOOGLE_TOKEN_URL, LEASE_DIVISOR, OIDC_ISSUER,
    OIDC_JWKS_URL, RETRY_BACKOFF_DIVISOR, SENDGRID_API_KEY, SENDGRID_API_URL, SENDGRID_FROM_EMAIL,
    SERVICE_ACCOUNT_EMAIL, TWILIO_ACCOUNT_SID, TWILIO_API_URL, TWILIO_AUTH_TOKEN, TWILIO_PHONE_NUMBER,
    UPSTASH_REDIS_REST_TOKEN, UPSTASH_REDIS_REST_URL,
};
use std::collections::BTreeMap;

use url::Url;

use crate::tasks::CloudTasks;

/// Variables of a process and their values.
pub type Environment = BTreeMap<&'static str, String>;

/// Adds a variable by its declaration.
pub(crate) fn set(environment: &mut Environment, variable: &Variable, value: &(impl ToString + ?Sized)) {
    environment.insert(variable.name, value.to_string());
}

/// What a function needs to know of the local cloud.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// The prepared database.
    pub(crate) database: &'a Url,
    /// Redis over HTTP.
    pub(crate) redis_url: &'a str,
    /// Its token.
    pub(crate) redis_token: &'a str,
    /// Where tasks come from and go to.
    pub(crate) tasks: &'a CloudTasks,
    /// Google's endpoints, token endpoint included.
    pub(crate) google_url: &'a str,
    /// Twilio's and SendGrid's endpoints.
    pub(crate) messaging_url: &'a str,
    /// Key of the tokens in the database.
    pub(crate) encryption_key: &'a str,
}

impl Surroundings<'_> {
    /// The same for all functions; host and port come with the process, and where Google sends notifications with whoever
    /// receives them.
    #[must_use]
    pub(crate) fn environment(&self) -> Environment {
        let mut environment = Environment::new();
        let settings = self.tasks.settings();
        let google = google_stand_in::Config::default();
        let messaging = messaging_stand_in::Config::default();
        let token_url = format!("{}/token", self.google_url);
        for (variable, value) in [
            (&APP_BASE_URL, "https://app.example.test"),
            (&CLOUD_RUN_URL, &settings.functions_url),
            (&CLOUD_TASKS_URL, &self.tasks.url()),
            (&DATABASE_URL, self.database.as_str()),
            (&ENCRYPTION_KEY, self.encryption_key),
            (&GCP_PROJECT_ID, &settings.project),
            (&GCP_REGION, &settings.region),
            (&GOOGLE_API_URL, self.google_url),
            (&GOOGLE_CLIENT_ID, &google.client_id),
            (&GOOGLE_CLIENT_SECRET, &google.client_secret),
            (&GOOGLE_TOKEN_URL, &token_url),
            (&OIDC_ISSUER, &self.tasks.url()),
            (&OIDC_JWKS_URL, &self.tasks.jwks_url()),
            (&RETRY_BACKOFF_DIVISOR, &settings.backoff_divisor.max(1).to_string()),
            (&LEASE_DIVISOR, &settings.lease_divisor.max(1).to_string()),
            (&SENDGRID_API_KEY, &messaging.api_key),
            (&SENDGRID_API_URL, self.messaging_url),
            (&SENDGRID_FROM_EMAIL, &messaging.from_email),
            (&SERVICE_ACCOUNT_EMAIL, &settings.caller),
            (&TWILIO_ACCOUNT_SID, &messaging.account_sid),
            (&TWILIO_API_URL, self.messaging_url),
            (&TWILIO_AUTH_TOKEN, &messaging.auth_token),
            (&TWILIO_PHONE_NUMBER, &messaging.phone_number),
            (&UPSTASH_REDIS_REST_TOKEN, self.redis_token),
            (&UPSTASH_REDIS_REST_URL, self.redis_url),
        ] {
            set(&mut environment, variable, value);
        }
        environment
    }
}
