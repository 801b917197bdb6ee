module "alerts" {
  source = "./modules/alert-rules"

  # Who serves a queue now, as this plan found it, and not what was declared when it was created.
  enabled        = [for name, function in module.function : name if function.enabled]
  scheduled      = [for name, function in module.function : name if function.enabled && function.scheduled]
  long_lookbacks = var.long_lookbacks
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = { for name, rule in module.alerts.rules : name => rule if rule.cloud != null }

  project               = var.project
  display_name          = "Jobs: ${each.key}"
  severity              = upper(each.value.severity)
  combiner              = "OR"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.summary

    condition_prometheus_query_language {
      query               = each.value.cloud
      duration            = "${each.value.seconds}s"
      evaluation_interval = each.value.every
      rule_group          = "jobs"
      alert_rule          = replace(each.key, "-", "_")
      # A metric is unknown until its first value arrives.
      disable_metric_validation = true
    }
  }

  documentation {
    subject   = "${each.value.severity}: ${each.value.summary}"
    content   = trimspace("${each.value.then}\n\n${each.value.note}")
    mime_type = "text/markdown"

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#${each.value.alert}"
    }
  }

  alert_strategy {
    auto_close           = "3600s"
    notification_prompts = ["OPENED", "CLOSED"]
  }

  depends_on = [
    google_logging_metric.tasks,
    google_logging_metric.distribution,
    google_logging_metric.entries,
    google_logging_metric.labelled_entries,
    google_logging_metric.calls_failed,
    google_logging_metric.pauses,
  ]
}
