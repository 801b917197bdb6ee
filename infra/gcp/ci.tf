# GitHub's workflows show a token of their own and hold no key; Cloud Build runs as an account of the project.
locals {
  ci = var.ci[*]
  # What GitHub's environments let in, and from which workflow.
  workflows = { production = "deliver.yml", scan = "scan.yml" }
  # A project has one pool as a rule, and its providers share its identities: ours are told apart by an attribute that no other
  # provider maps.
  pool        = try(coalesce(var.ci.pool, "jobs"), null)
  makes_pool  = try(var.ci.pool == null, false)
  cloud_build = toset(var.cloud_build ? ["jobs-builds"] : [])

  builders = toset([
    for account in google_service_account.cloud_build : "serviceAccount:${account.account_id}@${account.project}.iam.gserviceaccount.com"
  ])
  deployers = setunion(var.deployers, var.operators, local.builders, [
    for account in google_service_account.ci : "serviceAccount:${account.account_id}@${account.project}.iam.gserviceaccount.com"
  ])
}

resource "google_iam_workload_identity_pool" "ci" {
  count = local.makes_pool ? 1 : 0

  project                   = var.project
  workload_identity_pool_id = local.pool
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "ci" {
  count = length(local.ci)

  project                            = var.project
  workload_identity_pool_id          = local.pool
  workload_identity_pool_provider_id = "jobs"
  display_name                       = "GitHub Actions, for the jobs"

  # Everybody on GitHub gets tokens from this issuer: the condition is what keeps the others out. The repository by its number,
  # because a name can be given to another one; and of its jobs only the deployment's and the scan's, which the rules of their
  # environments guard.
  attribute_condition = join(" && ", [
    "assertion.repository_id == \"${var.ci.repository_id}\"",
    "assertion.ref == \"refs/heads/${var.ci.branch}\"",
    "assertion.environment + \" \" + assertion.workflow_ref in [${join(", ", [
      for environment, workflow in local.workflows :
      "\"${environment} ${var.ci.repository}/.github/workflows/${workflow}@refs/heads/${var.ci.branch}\""
    ])}]",
  ])
  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.jobs_delivery" = "assertion.repository_id + \":\" + assertion.environment"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }

  depends_on = [google_project_service.api, google_iam_workload_identity_pool.ci]
}

resource "google_service_account" "ci" {
  count = length(local.ci)

  project      = var.project
  account_id   = "jobs-deployment"
  display_name = "Pushes images and deploys functions"
}

# Reads bills of materials, and nothing else.
resource "google_service_account" "scanner" {
  count = length(local.ci)

  project      = var.project
  account_id   = "jobs-scan"
  display_name = "Reads bills of materials"
}

resource "google_artifact_registry_repository_iam_member" "scanner" {
  count = length(local.ci)

  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.bills.repository_id
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:${google_service_account.scanner[0].account_id}@${var.project}.iam.gserviceaccount.com"
}

resource "google_service_account_iam_binding" "ci" {
  for_each = var.ci == null ? {} : { production = google_service_account.ci[0].name, scan = google_service_account.scanner[0].name }

  service_account_id = each.value
  role               = "roles/iam.workloadIdentityUser"
  members = [
    "principalSet://iam.googleapis.com/projects/${local.project.number}/locations/global/workloadIdentityPools/${local.pool}/attribute.jobs_delivery/${var.ci.repository_id}:${each.key}",
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
