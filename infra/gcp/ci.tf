# GitHub's workflows show a token of their own and hold no key; Cloud Build runs as accounts of the project.
locals {
  ci          = var.ci[*]
  cloud_build = var.cloud_build[*]
  # What GitHub's environments let in, and from which workflow.
  workflows = { production = "deliver.yml", scan = "scan.yml" }
  # A project has one pool as a rule, and its providers share its identities: ours are told apart by an attribute that no other
  # provider maps.
  pool       = try(coalesce(var.ci.pool, "jobs"), null)
  makes_pool = try(var.ci.pool == null, false)

  builders  = [for account in google_service_account.builds : "${account.account_id}@${account.project}.iam.gserviceaccount.com"]
  deploying = [for account in google_service_account.ci : "${account.account_id}@${account.project}.iam.gserviceaccount.com"]
  deployers = setunion(var.deployers, var.operators, [for account in local.deploying : "serviceAccount:${account}"])
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
  count = min(1, length(local.ci) + length(local.cloud_build))

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

# Compiles what others wrote, and so may hand on what it has built, and not deploy it.
resource "google_service_account" "builds" {
  count = length(local.cloud_build)

  project      = var.project
  account_id   = "jobs-builds"
  display_name = "Tests, and builds candidates"
}

# Both write the log of their builds. One asks which commit was delivered last, the other whether it is its turn.
resource "google_project_iam_member" "cloud_build" {
  for_each = {
    for grant in setproduct(
      length(local.cloud_build) > 0 ? concat(local.builders, local.deploying) : [],
      ["roles/logging.logWriter", "roles/cloudbuild.builds.viewer"],
    ) : join(" ", grant) => { member = "serviceAccount:${grant[0]}", role = grant[1] }
  }

  project = var.project
  role    = each.value.role
  member  = each.value.member
}

resource "google_artifact_registry_repository_iam_member" "candidates" {
  for_each = length(local.cloud_build) > 0 ? {
    "roles/artifactregistry.writer" = local.builders[0]
    "roles/artifactregistry.reader" = local.deploying[0]
  } : {}

  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.candidates[0].repository_id
  role       = each.key
  member     = "serviceAccount:${each.value}"
}

resource "google_cloudbuild_trigger" "build" {
  count = length(local.cloud_build)

  project         = var.project
  location        = var.region
  name            = "jobs-build"
  description     = "Tests a commit, and builds its candidate"
  filename        = "infra/cloudbuild/build.yaml"
  service_account = "projects/${var.project}/serviceAccounts/${local.builders[0]}"

  repository_event_config {
    repository = var.cloud_build.repository

    push {
      branch = "^${var.cloud_build.branch}$"
    }
  }

  depends_on = [google_project_service.api, google_project_iam_member.cloud_build]
}

# What it does is read from the branch and not from the commit that was built. The account of a build may not publish to the topic,
# and what others say there is not believed: the deployment asks Cloud Build which build it was and how it ended.
resource "google_cloudbuild_trigger" "deploy" {
  count = length(local.cloud_build)

  project         = var.project
  location        = var.region
  name            = "jobs-deploy"
  description     = "Deploys a candidate"
  service_account = "projects/${var.project}/serviceAccounts/${local.deploying[0]}"
  filter          = "_STATUS == \"SUCCESS\" && _TRIGGER == \"${google_cloudbuild_trigger.build[0].trigger_id}\""

  substitutions = {
    _BUILD   = "$(body.message.data.id)"
    _COMMIT  = "$(body.message.data.substitutions.COMMIT_SHA)"
    _STATUS  = "$(body.message.data.status)"
    _TRIGGER = "$(body.message.data.buildTriggerId)"
  }

  pubsub_config {
    topic = "projects/${var.project}/topics/cloud-builds"
  }

  git_file_source {
    path       = "infra/cloudbuild/deploy.yaml"
    repository = var.cloud_build.repository
    revision   = "refs/heads/${var.cloud_build.branch}"
    repo_type  = "GITHUB"
  }

  source_to_build {
    repository = var.cloud_build.repository
    ref        = "refs/heads/${var.cloud_build.branch}"
    repo_type  = "GITHUB"
  }

  depends_on = [google_project_service.api, google_project_iam_member.cloud_build]
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
