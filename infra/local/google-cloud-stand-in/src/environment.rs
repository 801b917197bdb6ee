//! The configuration that gcloud needs to talk to the local servers.

use std::fmt::Write as _;

/// The variables as a shell reads them.
///
/// `configuration` is gcloud's own folder: nothing of a person's configuration or credentials is used.
#[must_use]
pub fn exports(
    google_cloud: &str,
    tasks: &str,
    project: &str,
    region: &str,
    configuration: &str,
    database: &str,
) -> String {
    let api = format!("{google_cloud}/");
    let mut exports = String::new();
    for (name, value) in [
        ("CLOUDSDK_CONFIG", configuration),
        ("CLOUDSDK_CORE_PROJECT", project),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "true"),
        ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true"),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true"),
        ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true"),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "http://run.local.test/"),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS", &format!("{tasks}/")),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER", &api),
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", &api),
        ("http_proxy", google_cloud),
        ("no_proxy", "127.0.0.1"),
        ("GCP_PROJECT_ID", project),
        ("GCP_REGION", region),
        ("IMAGE_REGISTRY", crate::containers::REGISTRY),
        ("DATABASE_URL", database),
        ("CLOUD_TASKS_URL", tasks),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(exports, "export {name}='{value}'");
    }
    exports
}
