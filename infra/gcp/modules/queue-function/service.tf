locals {
  # Known before the service exists: https://cloud.google.com/run/docs/triggering/https-request#deterministic
  url  = "https://${var.name}-${var.project.number}.${var.region}.run.app"
  path = "/api/jobs/${var.name}"

  # What producers write into a task; http_target overrides it.
  task_url      = "${replace(var.target.url, "{function}", var.name)}${local.path}"
  task_identity = coalesce(var.target.service_account_email, local.accounts.queue)

  environment = merge(var.environment, {
    GCP_PROJECT_ID        = var.project.id
    GCP_REGION            = var.region
    CLOUD_RUN_URL         = var.target.url
    SERVICE_ACCOUNT_EMAIL = local.task_identity
    OIDC_CALLERS          = local.accounts.queue
    OIDC_AUDIENCES        = local.url
  })
}

module "cloud_run" {
  source = "../cloud-run-service"

  name        = var.name
  project     = var.project
  region      = var.region
  description = "Runs the tasks of ${google_cloud_tasks_queue.queue.name}."
  # Cloud Tasks of the same project counts as internal.
  ingress  = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  invokers = [local.members.queue]

  account            = local.accounts.service
  image              = var.image
  timeout_seconds    = var.queue.dispatchDeadlineSeconds
  scaling            = var.scaling
  limits             = var.limits
  cpu_boost          = var.cpu_boost
  environment        = local.environment
  secrets            = var.secrets
  cloud_sql_instance = var.cloud_sql_instance
  network            = var.network
  labels             = merge(var.labels, { service = var.name })
  deployers          = var.deployers
}

# What was deployed before is the same.
moved {
  from = google_cloud_run_v2_service.service
  to   = module.cloud_run.google_cloud_run_v2_service.service
}

moved {
  from = google_cloud_run_v2_service_iam_binding.invoker
  to   = module.cloud_run.google_cloud_run_v2_service_iam_binding.invoker
}

moved {
  from = google_cloud_run_v2_service_iam_binding.developer
  to   = module.cloud_run.google_cloud_run_v2_service_iam_binding.developer
}

moved {
  from = google_secret_manager_secret_iam_member.access
  to   = module.cloud_run.google_secret_manager_secret_iam_member.access
}

moved {
  from = google_project_iam_member.cloud_sql
  to   = module.cloud_run.google_project_iam_member.cloud_sql
}
