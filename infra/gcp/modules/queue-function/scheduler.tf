locals {
  schedules = { for schedule in var.queue.schedules : schedule.name => schedule }
}

# Creates a task and runs nothing itself: limits, retries and pauses of the queue hold for scheduled work, too.
resource "google_cloud_scheduler_job" "schedule" {
  for_each = local.schedules

  project          = var.project.id
  region           = var.region
  name             = "${var.name}-${each.key}"
  description      = "Creates a task in ${google_cloud_tasks_queue.queue.name}."
  schedule         = each.value.cron
  time_zone        = "Etc/UTC"
  attempt_deadline = "30s"
  paused           = var.paused_schedules

  # A task that is created twice does its work once: sweeps name their tasks after the start of the period.
  retry_config {
    retry_count          = 5
    min_backoff_duration = "5s"
    max_backoff_duration = "60s"
    max_doublings        = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://cloudtasks.googleapis.com/v2/projects/${var.project.id}/locations/${var.region}/queues/${google_cloud_tasks_queue.queue.name}/tasks"
    headers     = { "Content-Type" = "application/json" }

    # Without a name and an idempotency key: Cloud Tasks names the task, and the name identifies the period.
    body = base64encode(jsonencode({
      task = {
        dispatchDeadline = "${var.queue.dispatchDeadlineSeconds}s"
        httpRequest = {
          httpMethod = "POST"
          url        = local.task_url
          headers    = { "Content-Type" = "application/json" }
          body       = base64encode(jsonencode({ data = jsondecode(each.value.payload), jobName = var.name }))
          oidcToken = {
            serviceAccountEmail = local.task_identity
            audience            = trimsuffix(local.task_url, local.path)
          }
        }
      }
    }))

    oauth_token {
      service_account_email = local.accounts.cron
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  lifecycle {
    # scripts/ops takeover resumes it, and giveback pauses it.
    ignore_changes = [paused]
  }
}
