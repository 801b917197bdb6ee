data "google_project" "project" {
  project_id = var.project
}

locals {
  project = { id = var.project, number = data.google_project.project.number }

  # Every task names a place and an identity; http_target overrides both for the queues that are enabled.
  target = {
    url                   = local.has_predecessor ? var.predecessor.url : "https://{function}-${local.project.number}.${var.region}.run.app"
    service_account_email = local.has_predecessor ? var.predecessor.service_account_email : null
  }

  # By a socket that Cloud Run mounts; or by its private address, over the network and with TLS.
  cloud_sql_instance = var.database.private == null ? var.database.instance : null

  database = {
    DATABASE_HOST      = var.database.private == null ? "/cloudsql/${var.database.instance}" : var.database.private.address
    DATABASE_NAME      = var.database.name
    DATABASE_USER      = var.database.user
    DATABASE_POOL_SIZE = tostring(var.database.pool_size)
  }
}

module "function" {
  source   = "./modules/queue-function"
  for_each = local.functions

  name    = each.key
  project = local.project
  region  = var.region

  queue = merge(local.queues[each.key], {
    schedules = [for schedule in local.queues[each.key].schedules : merge(schedule, { payload = jsonencode(schedule.payload) })]
  })
  enabled          = contains(local.enabled, each.key)
  paused_schedules = contains(local.paused, each.key)
  target           = local.target
  predecessor      = one(var.predecessor[*].service_account_email)

  image              = "${local.registry}/${each.key}:${var.release}"
  cpu_boost          = contains(var.cpu_boost, each.key)
  log_sampling_ratio = var.queue_log_sampling_ratio
  scaling = {
    concurrency   = each.value.concurrency
    max_instances = each.value.maxInstances
    min_instances = lookup(var.min_instances, each.key, 0)
  }

  environment = merge(
    local.database,
    { for name in local.variables[each.key] : name => var.settings[name] },
    { for name in local.optional[each.key] : name => var.settings[name] if contains(keys(var.settings), name) },
    contains(each.value.features, "email") ? { EMAIL_PROVIDER = var.email_provider } : {},
  )
  secrets = {
    for name in local.secrets[each.key] :
    name => { id = google_secret_manager_secret.secret[name].secret_id, version = lookup(var.secret_versions, name, 1) }
  }
  cloud_sql_instance = local.cloud_sql_instance
  network            = var.database.private
  labels             = local.labels
  deployers          = local.deployers
  operators          = var.operators

  depends_on = [google_project_service.api]
}

module "service" {
  source   = "./modules/public-service"
  for_each = local.services

  name        = each.key
  project     = local.project
  region      = var.region
  target      = local.target
  predecessor = one(var.predecessor[*].service_account_email)

  image           = "${local.registry}/${each.key}:${var.release}"
  cpu_boost       = contains(var.cpu_boost, each.key)
  timeout_seconds = each.value.timeoutSeconds
  scaling = {
    concurrency   = each.value.concurrency
    max_instances = each.value.maxInstances
    min_instances = lookup(var.min_instances, each.key, 0)
  }

  environment = merge(
    local.database,
    { for name in local.variables[each.key] : name => var.settings[name] },
    { for name in local.optional[each.key] : name => var.settings[name] if contains(keys(var.settings), name) },
  )
  secrets = {
    for name in local.secrets[each.key] :
    name => { id = google_secret_manager_secret.secret[name].secret_id, version = lookup(var.secret_versions, name, 1) }
  }
  cloud_sql_instance = local.cloud_sql_instance
  network            = var.database.private
  labels             = local.labels
  deployers          = local.deployers

  depends_on = [google_project_service.api]
}

# Who may fill which queue: itself (continuations, rescheduled tasks, schedules), the functions that name it, and the application.
resource "google_cloud_tasks_queue_iam_binding" "enqueuer" {
  for_each = local.queues

  project  = var.project
  location = var.region
  name     = module.function[each.key].queue
  role     = "roles/cloudtasks.enqueuer"
  members = concat(
    module.function[each.key].producers,
    [for name, function in local.functions : module.function[name].members.service if contains(function.enqueues, each.key)],
    [for name, service in local.services : module.service[name].member if contains(service.enqueues, each.key)],
    tolist(lookup(var.producers, each.key, [])),
  )
}
