# Metrics over the log entries of the functions: one canonical line per dispatch, nothing while idle. Which fields and event
# codes they read is in metrics.json, which tests/it/observability.rs compares with what the functions write.
locals {
  metrics = jsondecode(file("${path.module}/metrics.json"))

  functions_log = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=(${join(" OR ", [for name in local.names : "\"${name}\""])})",
  ])
  canonical_line = "${local.functions_log} AND jsonPayload.event=\"${local.metrics.line.event}\""
  queue          = "EXTRACT(jsonPayload.\"${local.metrics.line.queue}\")"
  outcome        = "EXTRACT(jsonPayload.\"${local.metrics.line.outcome}\")"

  # In milliseconds; the bounds are those of /metrics, so that both systems estimate the same quantiles.
  duration_bounds = [for seconds in local.metrics.duration_buckets_seconds : seconds * 1000]

  # A field of the line that is summed. One bucket is enough: only its sum is read.
  sum_bounds = [1]

  distributions = merge(
    { for name, field in local.metrics.durations : name => { field = field, bounds = local.duration_bounds } },
    { for name, field in local.metrics.sums : name => { field = field, bounds = local.sum_bounds } },
  )
}

resource "google_logging_metric" "tasks" {
  project          = var.project
  name             = "jobs/tasks_total"
  description      = "Dispatches, by queue and outcome."
  filter           = local.canonical_line
  label_extractors = { queue = local.queue, outcome = local.outcome }

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
  label_extractors = { queue = local.queue }

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

# To be held against the attempts that Cloud Tasks counts: what is missing never reached a function.
resource "google_logging_metric" "calls_failed" {
  project          = var.project
  name             = "jobs/calls_failed"
  description      = "Dispatches that a function did not answer with 2xx, by queue."
  filter           = "${local.canonical_line} AND jsonPayload.\"${local.metrics.line.status}\">=300"
  label_extractors = { queue = local.queue }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key = "queue"
    }
  }

  depends_on = [google_project_service.api]
}

# Of the audit log, which is always kept and costs nothing: what is paused on purpose is nothing to be alarmed about.
resource "google_logging_metric" "pauses" {
  for_each = { queue_pauses = "PauseQueue", queue_resumes = "ResumeQueue" }

  project          = var.project
  name             = "jobs/${each.key}"
  description      = "Calls of ${each.value}, by queue."
  filter           = "protoPayload.serviceName=\"cloudtasks.googleapis.com\" AND protoPayload.methodName=~\"[.]${each.value}$\" AND NOT protoPayload.status.code>0"
  label_extractors = { queue = "REGEXP_EXTRACT(protoPayload.resourceName, \"queues/(.+)-queue$\")" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key = "queue"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "labelled_entries" {
  for_each = local.metrics.labelled_entries

  project          = var.project
  name             = "jobs/${each.key}"
  description      = "Entries: ${each.value.event}, by ${join(" and ", keys(each.value.labels))}."
  filter           = "${local.functions_log} AND jsonPayload.event=\"${each.value.event}\""
  label_extractors = { for label, field in each.value.labels : label => "EXTRACT(jsonPayload.\"${field}\")" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    dynamic "labels" {
      for_each = each.value.labels

      content {
        key = labels.key
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "entries" {
  for_each = local.metrics.entries

  project     = var.project
  name        = "jobs/${each.key}"
  description = "Entries: ${join(", ", each.value)}."
  filter      = "${local.functions_log} AND jsonPayload.event=(${join(" OR ", [for code in each.value : "\"${code}\""])})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }

  depends_on = [google_project_service.api]
}
