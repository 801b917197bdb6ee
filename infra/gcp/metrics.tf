# Metrics over the canonical log line (shared/src/telemetry/line.rs): one line a dispatch, nothing while idle.
locals {
  functions_log = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=(${join(" OR ", [for name in keys(local.functions) : "\"${name}\""])})",
  ])
  canonical_line = "${local.functions_log} AND jsonPayload.message=\"task\""

  # In milliseconds; the bounds are those of /metrics, so that both systems estimate the same quantiles.
  duration_bounds = [for seconds in [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120] : seconds * 1000]

  # A field of the line that is summed. One bucket will do: only its sum is read.
  sum_bounds = [1]

  distributions = {
    task_duration_ms  = { field = "task.duration_ms", bounds = local.duration_bounds }
    task_waited_ms    = { field = "task.waited_ms", bounds = local.duration_bounds }
    redis_idempotency = { field = "redis.idempotency", bounds = local.sum_bounds }
    redis_rate_limit  = { field = "redis.rate_limit", bounds = local.sum_bounds }
    redis_cache       = { field = "redis.cache", bounds = local.sum_bounds }
    cache_hits        = { field = "cache.hits", bounds = local.sum_bounds }
    cache_misses      = { field = "cache.misses", bounds = local.sum_bounds }
  }

  # Ordinary entries that are counted. A test looks for their texts in the code that writes them.
  entries = {
    redis_errors       = ["task runs without a lease", "task not recorded as done in redis", "lease not renewed"]
    stale_channels     = ["too many of a sweep's quiet channels are broken"]
    unknown_deliveries = ["nobody knows whether a message was sent", "a message was sent and not recorded"]
  }
}

resource "google_logging_metric" "tasks" {
  project          = var.project
  name             = "jobs/tasks_total"
  description      = "Dispatches, by queue and outcome."
  filter           = local.canonical_line
  label_extractors = { queue = "EXTRACT(jsonPayload.\"task.queue\")", outcome = "EXTRACT(jsonPayload.\"task.outcome\")" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key = "queue"
    }

    labels {
      key = "outcome"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "distribution" {
  for_each = local.distributions

  project          = var.project
  name             = "jobs/${each.key}"
  description      = "${each.value.field} of each dispatch, by queue."
  filter           = "${local.canonical_line} AND jsonPayload.\"${each.value.field}\":*"
  value_extractor  = "EXTRACT(jsonPayload.\"${each.value.field}\")"
  label_extractors = { queue = "EXTRACT(jsonPayload.\"task.queue\")" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"

    labels {
      key = "queue"
    }
  }

  bucket_options {
    explicit_buckets {
      bounds = each.value.bounds
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "entries" {
  for_each = local.entries

  project     = var.project
  name        = "jobs/${each.key}"
  description = "Entries: ${join("; ", each.value)}."
  filter      = "${local.functions_log} AND jsonPayload.message=(${join(" OR ", [for text in each.value : "\"${text}\""])})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }

  depends_on = [google_project_service.api]
}
