# GitHub's workflows show a token of their own and hold no key; Cloud Build runs as an account of the project.
locals {
  ci          = var.ci[*]
  cloud_build = toset(var.cloud_build ? ["jobs-builds"] : [])

  builders = toset([
    for account in google_service_account.cloud_build : "serviceAccount:${account.account_id}@${account.project}.iam.gserviceaccount.com"
  ])
  deployers = setunion(var.deployers, var.operators, local.builders, [
    for account in google_service_account.ci : "serviceAccount:${account.account_id}@${account.project}.iam.gserviceaccount.com"
  ])
}

resource "google_iam_workload_identity_pool" "ci" {
  count = length(local.ci)

  project                   = var.project
  workload_identity_pool_id = "github"
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "ci" {
  count = length(local.ci)

  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.ci[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  # Everybody on GitHub gets tokens from this issuer: the condition is what keeps the others out.
  attribute_condition = "assertion.repository == \"${var.ci.repository}\" && assertion.ref == \"refs/heads/${var.ci.branch}\""
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
    "attribute.ref"        = "assertion.ref"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account" "ci" {
  count = length(local.ci)

  project      = var.project
  account_id   = "jobs-deployment"
  display_name = "Pushes images and deploys functions"
}

resource "google_service_account_iam_binding" "ci" {
  count = length(local.ci)

  service_account_id = google_service_account.ci[0].name
  role               = "roles/iam.workloadIdentityUser"
  members = [
    "principalSet://iam.googleapis.com/projects/${local.project.number}/locations/global/workloadIdentityPools/${google_iam_workload_identity_pool.ci[0].workload_identity_pool_id}/attribute.repository/${var.ci.repository}",
  ]
}

resource "google_service_account" "cloud_build" {
  for_each = local.cloud_build

  project      = var.project
  account_id   = each.key
  display_name = "Runs infra/cloudbuild.yaml: pushes images and deploys functions"
}

# A build writes its own log, and asks which commit was delivered last.
resource "google_project_iam_member" "cloud_build" {
  for_each = {
    for grant in setproduct(local.builders, ["roles/logging.logWriter", "roles/cloudbuild.builds.viewer"]) : grant[1] => grant[0]
  }

  project = var.project
  role    = each.key
  member  = each.value
}

# The deployer pushes images and their bills of materials, and may deploy and run as each function (modules/queue-function/identity.tf).
resource "google_artifact_registry_repository_iam_member" "deployer" {
  for_each = local.deployers

  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

resource "google_artifact_registry_repository_iam_member" "deployer_keeps_bills" {
  for_each = local.deployers

  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.bills.repository_id
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

# A canary is evaluated by the log of its function.
resource "google_project_iam_member" "deployer_reads_logs" {
  for_each = local.deployers

  project = var.project
  role    = "roles/logging.viewer"
  member  = each.value
}

# Revisions are listed by project.
resource "google_project_iam_member" "deployer_lists_revisions" {
  for_each = local.deployers

  project = var.project
  role    = "roles/run.viewer"
  member  = each.value
}
