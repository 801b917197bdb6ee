//! The platform's environment variables, and how a product declares its own.

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub what: &'static str,
    /// The form that its value must have.
    pub form: &'static str,
    /// Used when it is not set.
    pub default: Option<&'static str>,
    /// Where an operator sets it.
    pub place: &'static str,
}

/// A place: not secret.
pub const SERVICE: &str = "the environment of the Cloud Run service";
/// A place: secret.
pub const SECRET: &str = "Secret Manager, mounted into the environment of the Cloud Run service";

/// Declares environment variables as constants, and `ALL` of them in the order of their table:
/// `NAME: what it is for, form, default, place;`.
#[macro_export]
macro_rules! variables {
    ($($(#[$doc:meta])* $name:ident: $what:literal, $form:literal, $default:expr, $place:expr;)*) => {
        $(
            #[doc = $what]
            pub const $name: $crate::config::Variable = $crate::config::Variable {
                name: stringify!($name), what: $what, form: $form, default: $default, place: $place,
            };
        )*

        /// All of them, in the order of the table.
        pub const ALL: &[$crate::config::Variable] = &[$($name),*];
    };
}

variables! {
    PORT: "Port that the service listens on.", "a port number", Some("8080"), SERVICE;
    HOST: "Address that the service listens on.", "an IP address", Some("0.0.0.0"), SERVICE;
    LOG_LEVEL: "Minimum log level.", "trace, debug, info, warn or error", Some("info"), SERVICE;
    K_REVISION: "Revision of the service, for records of failures; Cloud Run sets it.", "a name", Some("local"), SERVICE;
    RETRY_BACKOFF_DIVISOR: "Backoffs between attempts are divided by this; for tests and the local cloud.", "a number from 1", Some("1"), SERVICE;
    DEBOUNCE_DIVISOR: "Debounce windows of tasks are divided by this; for the local cloud.", "a number from 1", Some("1"), SERVICE;
    LEASE_DIVISOR: "Times of leases are divided by this; for tests.", "a number from 1", Some("1"), SERVICE;
    TIMEOUT_DIVISOR: "Timeouts of jobs are divided by this; for tests.", "a number from 1", Some("1"), SERVICE;
    DATABASE_URL: "Postgres; or give the `DATABASE_*` parts instead.", "postgres://user:password@host:port/name", None, SECRET;
    DATABASE_HOST: "Host of Postgres; one that begins with `/` is a socket directory.", "a host name or a folder", None, SERVICE;
    DATABASE_PORT: "Port of Postgres.", "a port number", Some("5432"), SERVICE;
    DATABASE_NAME: "Name of the database.", "a name", None, SERVICE;
    DATABASE_USER: "User of the database.", "a name", None, SERVICE;
    DATABASE_PASSWORD: "Password of the database's user.", "any text", None, SECRET;
    DATABASE_POOL_SIZE: "Connections that one instance may hold.", "a number from 1", Some("4"), SERVICE;
    UPSTASH_REDIS_REST_URL: "HTTP endpoint of Redis.", "https://host (http on loopback)", None, SECRET;
    UPSTASH_REDIS_REST_TOKEN: "Token of that endpoint.", "any text", None, SECRET;
    GCP_PROJECT_ID: "Project of the queues.", "a project id", None, SERVICE;
    GCP_REGION: "Region of the queues.", "a region such as europe-west1", None, SERVICE;
    CLOUD_RUN_URL: "Where tasks are sent; `{function}` in it becomes the function's name.", "https://host (http on loopback)", None, SERVICE;
    SERVICE_ACCOUNT_EMAIL: "Identity with which Cloud Tasks calls the functions.", "an e-mail address", None, SERVICE;
    USE_CLOUD_TASKS: "`false` makes producers call the functions directly.", "true or false", Some("true"), SERVICE;
    CLOUD_TASKS_URL: "Endpoint of Cloud Tasks; one on loopback is called without credentials.", "https://host (http on loopback)", Some("https://cloudtasks.googleapis.com"), SERVICE;
    IDENTITY_URL: "Where a direct call gets its identity token.", "https://host/path (http on loopback or the metadata server)", Some("http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/identity"), SERVICE;
    OIDC_ISSUER: "Issuer of the identity tokens that callers show.", "a URL", Some("https://accounts.google.com"), SERVICE;
    OIDC_JWKS_URL: "Public keys of that issuer.", "https://host/path (http on loopback)", Some("https://www.googleapis.com/oauth2/v3/certs"), SERVICE;
    OIDC_AUDIENCES: "Audiences of the identity tokens; unset accepts what `CLOUD_RUN_URL` gives for this function.", "URLs, separated by commas", None, SERVICE;
    OIDC_CALLERS: "Identities that may call besides `SERVICE_ACCOUNT_EMAIL`.", "e-mail addresses, separated by commas", None, SERVICE;
}
