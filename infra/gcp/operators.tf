# People who do what infra/docs/runbook.md and infra/docs/takeover.md ask for. They deploy, too (ci.tf), and they name the queues'
# identities in tasks of their own (modules/queue-function/identity.tf); applying Terraform is another role's right.
locals {
  operator_role     = "jobsOperator"
  database_instance = split(":", var.database.instance)[2]
  operated          = length(var.operators) > 0 ? keys(local.queues) : []
}

# A role of our own, because Google's that may pause a queue may also delete it.
resource "google_project_iam_custom_role" "operator" {
  count = min(1, length(var.operators))

  project     = var.project
  role_id     = local.operator_role
  title       = "Operator of the background jobs"
  description = "Holds queues, empties them, gives them back, looks at tasks, creates and deletes single ones."
  permissions = [
    # scripts/ops pause, resume, takeover and giveback. Purge: what the predecessor would take for sweeps; each of these tasks
    # could be deleted one by one as well.
    "cloudtasks.queues.get",
    "cloudtasks.queues.pause",
    "cloudtasks.queues.purge",
    "cloudtasks.queues.resume",
    "cloudtasks.queues.update",
    # scripts/ops takeover --check, scripts/ops dead-letters replay, and the end of a task that always fails.
    "cloudtasks.tasks.create",
    "cloudtasks.tasks.delete",
    "cloudtasks.tasks.fullView",
    "cloudtasks.tasks.get",
    "cloudtasks.tasks.list",
    "cloudtasks.tasks.run",
  ]

  depends_on = [google_project_service.api]
}

# scripts/ops schedule, and takeover and giveback: the schedules of a queue change hands with it.
resource "google_project_iam_custom_role" "schedule_operator" {
  count = min(1, length(var.operators))

  project     = var.project
  role_id     = "jobsScheduleOperator"
  title       = "Operator of the schedules of background jobs"
  description = "Runs, pauses and resumes schedules."
  permissions = ["cloudscheduler.jobs.enable", "cloudscheduler.jobs.get", "cloudscheduler.jobs.pause", "cloudscheduler.jobs.run"]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "operator_holds_schedules" {
  for_each = var.operators

  project = var.project
  role    = google_project_iam_custom_role.schedule_operator[0].name
  member  = each.value
}

resource "google_cloud_tasks_queue_iam_binding" "operator" {
  for_each = toset(local.operated)

  project  = var.project
  location = var.region
  name     = module.function[each.key].queue
  role     = "projects/${var.project}/roles/${local.operator_role}"
  members  = var.operators

  depends_on = [google_project_iam_custom_role.operator]
}

# Adds, disables and destroys versions, and reads none.
resource "google_secret_manager_secret_iam_member" "operator" {
  for_each = { for grant in setproduct(local.secret_names, var.operators) : join(" ", grant) => grant }

  project   = var.project
  secret_id = google_secret_manager_secret.secret[each.value[0]].secret_id
  role      = "roles/secretmanager.secretVersionManager"
  member    = each.value[1]
}

resource "google_project_iam_member" "operator_sees_alerts" {
  for_each = var.operators

  project = var.project
  role    = "roles/monitoring.viewer"
  member  = each.value
}

# Whether a schedule is there, and when it ran.
resource "google_project_iam_member" "operator_sees_schedules" {
  for_each = var.operators

  project = var.project
  role    = "roles/cloudscheduler.viewer"
  member  = each.value
}

# Dead letters and deliveries are in the database, where an operator is a user without a password (the instance has the flag
# cloudsql.iam_authentication). `scripts/ops migrate --operator` gives that user its role there.
resource "google_sql_user" "operator" {
  for_each = var.operators

  project  = var.project
  instance = local.database_instance
  name     = trimsuffix(split(":", each.value)[1], ".gserviceaccount.com")
  type = {
    group          = "CLOUD_IAM_GROUP"
    serviceAccount = "CLOUD_IAM_SERVICE_ACCOUNT"
    user           = "CLOUD_IAM_USER"
  }[split(":", each.value)[0]]
  # Postgres drops no user that has a role.
  deletion_policy = "ABANDON"

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "operator_reaches_database" {
  for_each = { for grant in setproduct(var.operators, ["roles/cloudsql.client", "roles/cloudsql.instanceUser"]) : join(" ", grant) => grant }

  project = var.project
  role    = each.value[1]
  member  = each.value[0]

  condition {
    title      = "only ${local.database_instance}"
    expression = "resource.service == \"sqladmin.googleapis.com\" && resource.name == \"projects/${var.project}/instances/${local.database_instance}\""
  }
}
