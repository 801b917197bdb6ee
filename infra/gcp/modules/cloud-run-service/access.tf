# Bindings and not members: what is added by hand, the next apply removes.
resource "google_cloud_run_v2_service_iam_binding" "invoker" {
  project  = var.project.id
  location = var.region
  name     = google_cloud_run_v2_service.service.name
  role     = "roles/run.invoker"
  members  = var.invokers
}

resource "google_cloud_run_v2_service_iam_binding" "developer" {
  count = length(var.deployers) > 0 ? 1 : 0

  project  = var.project.id
  location = var.region
  name     = google_cloud_run_v2_service.service.name
  role     = "roles/run.developer"
  members  = var.deployers
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
