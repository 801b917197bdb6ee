resource "google_cloud_tasks_queue" "queue" {
  project  = var.project.id
  location = var.region
  name     = "${var.name}-queue"

  rate_limits {
    max_dispatches_per_second = var.queue.maxDispatchesPerSecond
    # More than the service can hold would be answered with 429, which slows the whole queue.
    max_concurrent_dispatches = var.scaling.concurrency * var.scaling.max_instances
  }

  retry_config {
    # Without a limit, the function ends a task, by its recorded failures. The predecessor answers 400 to a task that it
    # wants ended: only its own number does.
    max_attempts  = var.enabled ? -1 : var.queue.attempts
    min_backoff   = "${var.queue.minBackoffSeconds}s"
    max_backoff   = "${var.queue.maxBackoffSeconds}s"
    max_doublings = var.queue.maxDoublings
    # No limit: Cloud Tasks ends a task when both limits are reached.
    max_retry_duration = "0s"
  }

  # Without it, a call that Cloud Run's front end turned away is written down nowhere.
  stackdriver_logging_config {
    sampling_ratio = var.log_sampling_ratio
  }

  # All tasks that are in the queue go to the function; without it, they go where their producer said.
  dynamic "http_target" {
    for_each = var.enabled ? [local.url] : []

    content {
      http_method = "POST"

      uri_override {
        scheme                    = "HTTPS"
        host                      = trimprefix(http_target.value, "https://")
        uri_override_enforce_mode = "ALWAYS"

        path_override {
          path = local.path
        }
      }

      oidc_token {
        service_account_email = local.accounts.queue
        audience              = http_target.value
      }
    }
  }

  lifecycle {
    # A deleted queue takes its tasks along, and its name is blocked for days.
    prevent_destroy = true
    # Who serves the queue is decided by scripts/ops takeover and giveback, each in one call that changes both. The queue itself
    # records it: no apply takes a queue over or gives one back, and one that was imported keeps the predecessor's number.
    ignore_changes = [http_target, retry_config[0].max_attempts]
  }
}
