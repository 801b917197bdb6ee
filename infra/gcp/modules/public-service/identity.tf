resource "google_service_account" "account" {
  project      = var.project.id
  account_id   = var.name
  display_name = "Runs ${var.name}"
}

locals {
  # Written out instead of read back, so that a plan shows who gets which right.
  account = "${google_service_account.account.account_id}@${google_service_account.account.project}.iam.gserviceaccount.com"
  member  = "serviceAccount:${local.account}"
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
