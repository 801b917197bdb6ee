# Service levels. Those of the cache and of Redis are alerts, because a sum of a log-based distribution cannot be one; the time
# of a creation is measured by scripts/bench.
resource "google_monitoring_custom_service" "jobs" {
  project      = var.project
  service_id   = "jobs"
  display_name = "Background jobs"
  user_labels  = local.labels

  depends_on = [google_project_service.api]
}

locals {
  of_tasks     = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.tasks.name}\" resource.type=\"cloud_run_revision\""
  bad_outcomes = ["dead", "refused", "retry", "unavailable"]
}

resource "google_monitoring_slo" "success" {
  project             = var.project
  service             = google_monitoring_custom_service.jobs.service_id
  slo_id              = "success"
  display_name        = "99.9 % of the dispatches do not fail"
  goal                = 0.999
  rolling_period_days = 28
  user_labels         = local.labels

  request_based_sli {
    good_total_ratio {
      total_service_filter = local.of_tasks
      bad_service_filter   = "${local.of_tasks} metric.labels.outcome=one_of(${join(",", [for outcome in local.bad_outcomes : "\"${outcome}\""])})"
    }
  }
}

resource "google_monitoring_slo" "latency" {
  project             = var.project
  service             = google_monitoring_custom_service.jobs.service_id
  slo_id              = "latency"
  display_name        = "95 % of the dispatches take less than 5 s"
  goal                = 0.95
  rolling_period_days = 28
  user_labels         = local.labels

  request_based_sli {
    distribution_cut {
      distribution_filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.distribution["task_duration_ms"].name}\" resource.type=\"cloud_run_revision\""

      range {
        max = 5000
      }
    }
  }
}
