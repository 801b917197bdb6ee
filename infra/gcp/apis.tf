resource "google_project_service" "api" {
  for_each = toset(concat(var.cloud_build == null ? [] : ["cloudbuild.googleapis.com", "pubsub.googleapis.com"], [
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "cloudtasks.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "sqladmin.googleapis.com",
    "sts.googleapis.com",
  ]))

  project = var.project
  service = each.value
  # Others in the project may need it, too.
  disable_on_destroy = false
}
