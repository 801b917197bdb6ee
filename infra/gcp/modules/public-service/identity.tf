resource "google_service_account" "account" {
  project      = var.project.id
  account_id   = var.name
  display_name = "Runs ${var.name}"
}

locals {
  # Written out instead of read back, so that a plan shows who gets which right.
  account = "${google_service_account.account.account_id}@${google_service_account.account.project}.iam.gserviceaccount.com"
  member  = "serviceAccount:${local.account}"

  cloud_sql = toset(var.cloud_sql_instance[*])
}

# Vendors show no identity that Google's front end knows: the service itself checks what they send.
resource "google_cloud_run_v2_service_iam_binding" "invoker" {
  project  = var.project.id
  location = var.region
  name     = google_cloud_run_v2_service.service.name
  role     = "roles/run.invoker"
  members  = ["allUsers"]
}

resource "google_cloud_run_v2_service_iam_binding" "developer" {
  count = length(var.deployers) > 0 ? 1 : 0

  project  = var.project.id
  location = var.region
  name     = google_cloud_run_v2_service.service.name
  role     = "roles/run.developer"
  members  = var.deployers
}

# A task carries the identity of its caller, and its creator must be allowed to act as that identity. The service names
# its own; the queue that takes the task puts its own in its place.
resource "google_service_account_iam_binding" "act_as_service" {
  service_account_id = google_service_account.account.name
  role               = "roles/iam.serviceAccountUser"
  members            = concat([local.member], tolist(var.deployers))
}

# Not of the target: what serves names the predecessor until it is deployed anew.
resource "google_service_account_iam_member" "act_as_predecessor" {
  count = var.predecessor == null ? 0 : 1

  service_account_id = "projects/${var.project.id}/serviceAccounts/${var.predecessor}"
  role               = "roles/iam.serviceAccountUser"
  member             = local.member
}

resource "google_secret_manager_secret_iam_member" "access" {
  for_each = var.secrets

  project   = var.project.id
  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member
}

resource "google_project_iam_member" "cloud_sql" {
  for_each = local.cloud_sql

  project = var.project.id
  role    = "roles/cloudsql.client"
  member  = local.member

  condition {
    title = "only ${split(":", each.value)[2]}"
    expression = join(" && ", [
      "resource.service == \"sqladmin.googleapis.com\"",
      "resource.name == \"projects/${split(":", each.value)[0]}/instances/${split(":", each.value)[2]}\"",
    ])
  }
}
