locals {
  # Known before the service exists: https://cloud.google.com/run/docs/triggering/https-request#deterministic
  url = "https://${var.name}-${var.project.number}.${var.region}.run.app"

  environment = merge(var.environment, {
    GCP_PROJECT_ID        = var.project.id
    GCP_REGION            = var.region
    CLOUD_RUN_URL         = var.target.url
    SERVICE_ACCOUNT_EMAIL = coalesce(var.target.service_account_email, local.account)
  })
}

module "cloud_run" {
  source = "../cloud-run-service"

  name        = var.name
  project     = var.project
  region      = var.region
  description = "Takes what vendors send of their own accord."
  ingress     = "INGRESS_TRAFFIC_ALL"
  # Vendors show no identity that Google's front end knows: the service itself checks what they send.
  invokers = ["allUsers"]

  account            = local.account
  image              = var.image
  timeout_seconds    = var.timeout_seconds
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
