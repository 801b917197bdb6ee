# Alerts, metrics, dashboard, budget.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  slack       = { channel = "#jobs" }
  slack_token = "not a token"
  budget      = { billing_account = "000000-000000-000000", amount = 50 }
}

run "there_is_a_policy_for_each_threshold_of_the_list" {
  command = plan

  assert {
    condition     = toset(keys(google_monitoring_alert_policy.alert)) == toset([for name, rule in module.alerts.rules : name if rule.cloud != null])
    error_message = "The policies are not those of infra/alerts.json."
  }
  assert {
    condition = alltrue([
      for name, policy in google_monitoring_alert_policy.alert :
      policy.conditions[0].condition_prometheus_query_language[0].query == module.alerts.rules[name].cloud &&
      policy.severity == upper(module.alerts.rules[name].severity) &&
      policy.documentation[0].links[0].url == "https://example.com/runbook.md#${module.alerts.rules[name].alert}"
    ])
    error_message = "A policy asks for something else."
  }
  assert {
    condition = alltrue([
      google_monitoring_alert_policy.alert["failure-rate-critical"].conditions[0].condition_prometheus_query_language[0].duration == "300s",
      google_monitoring_alert_policy.alert["response-time-warning"].conditions[0].condition_prometheus_query_language[0].duration == "3600s",
      google_monitoring_alert_policy.alert["dead-letters-warning"].conditions[0].condition_prometheus_query_language[0].duration == "0s",
    ])
    error_message = "A duration was lost on the way."
  }
}

run "every_metric_that_is_asked_for_is_made" {
  command = plan

  assert {
    condition = length(setsubtract(
      flatten([for query in module.alerts.queries : [for match in regexall("user_jobs_([a-z_]+?)(?:_sum|_count|_bucket)?\\{", query) : "jobs/${match[0]}"]]),
      concat(
        [google_logging_metric.tasks.name],
        [for metric in google_logging_metric.distribution : metric.name],
        [for metric in google_logging_metric.entries : metric.name],
        [for metric in google_logging_metric.labelled_entries : metric.name],
        [for metric in google_logging_metric.pauses : metric.name],
        [google_logging_metric.calls_failed.name],
      ),
    )) == 0
    error_message = "An alert watches a metric that does not exist."
  }
}

run "a_rule_that_looks_far_back_is_evaluated_less_often_and_costs_less" {
  command = plan

  assert {
    condition = { for name in ["failure-rate-critical", "response-time-warning"] : name => google_monitoring_alert_policy.alert[name].conditions[0].condition_prometheus_query_language[0].evaluation_interval } == {
      failure-rate-critical = "60s"
      response-time-warning = "600s"
    }
    error_message = "Each evaluation is billed."
  }
}

run "only_queues_and_schedules_that_are_ours_are_watched" {
  command = plan

  variables {
    predecessor      = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
    enabled_queues   = ["calendar-sync", "token-refresh"]
    paused_schedules = null
  }

  assert {
    condition     = [for name in keys(google_monitoring_alert_policy.alert) : name if startswith(name, "missed-sweep")] == ["missed-sweep-24h-critical"]
    error_message = "A sweep is missed that the predecessor's scheduler creates."
  }
}

run "what_looks_back_too_far_is_left_out" {
  command = plan

  variables {
    long_lookbacks = false
  }

  assert {
    condition     = [for name in keys(google_monitoring_alert_policy.alert) : name if startswith(name, "missed-sweep") || startswith(name, "response-time")] == ["missed-sweep-15m-critical", "missed-sweep-1h-critical"]
    error_message = "A look-back is too long."
  }
}

run "service_levels_count_what_the_functions_log" {
  command = plan

  assert {
    condition     = google_monitoring_slo.success.goal == 0.999 && endswith(google_monitoring_slo.success.request_based_sli[0].good_total_ratio[0].bad_service_filter, "metric.labels.outcome=one_of(\"dead\",\"refused\",\"retry\",\"unavailable\")")
    error_message = "Success is something else."
  }
  assert {
    condition     = google_monitoring_slo.latency.goal == 0.95 && google_monitoring_slo.latency.request_based_sli[0].distribution_cut[0].range[0].max == 5000
    error_message = "The time of a dispatch is another one."
  }
}

run "everything_that_has_labels_has_them" {
  command = plan

  variables {
    labels      = { team = "sync" }
    cloud_build = { repository = "projects/example/locations/europe-west1/connections/github/repositories/jobs" }
  }

  assert {
    condition = toset(concat(
      [for secret in google_secret_manager_secret.secret : secret.labels],
      [for policy in google_monitoring_alert_policy.alert : policy.user_labels],
      [google_artifact_registry_repository.images.labels, google_artifact_registry_repository.bills.labels, google_artifact_registry_repository.candidates[0].labels],
      [google_monitoring_custom_service.jobs.user_labels, google_monitoring_slo.success.user_labels, google_monitoring_slo.latency.user_labels],
    )) == toset([tomap({ app = "jobs", team = "sync" })])
    error_message = "Something is on the bill without its label."
  }
}

run "pauses_are_read_off_the_audit_log" {
  command = plan

  assert {
    condition     = { for name, metric in google_logging_metric.pauses : name => strcontains(metric.filter, "protoPayload.methodName=~\"[.]${name == "queue_pauses" ? "Pause" : "Resume"}Queue$\"") } == { queue_pauses = true, queue_resumes = true }
    error_message = "A pause is something else."
  }
}

run "metrics_match_event_codes" {
  command = plan

  assert {
    condition     = endswith(google_logging_metric.tasks.filter, " AND jsonPayload.event=\"task\"")
    error_message = "Dispatches are counted by something else than the code of the canonical line."
  }
  assert {
    condition     = endswith(google_logging_metric.entries["unknown_deliveries"].filter, " AND jsonPayload.event=(\"delivery_unknown\" OR \"delivery_not_recorded\")")
    error_message = "Entries are counted by something else than their codes."
  }
}

run "the_dashboard_shows_every_alert_and_lays_no_tile_on_another" {
  command = plan

  assert {
    condition     = length(setsubtract(keys(module.alerts.queries), [for tile in jsondecode(google_monitoring_dashboard.jobs.dashboard_json).mosaicLayout.tiles : tile.widget.title])) == 0
    error_message = "An alert has no tile."
  }
  assert {
    condition     = length(distinct([for tile in jsondecode(google_monitoring_dashboard.jobs.dashboard_json).mosaicLayout.tiles : [tile.xPos, tile.yPos]])) == length(local.tiles)
    error_message = "A tile hides another."
  }
}

run "alerts_reach_mail_and_slack_and_the_budget_reaches_mail" {
  command = plan

  assert {
    condition     = one([for channel in google_monitoring_notification_channel.email : channel.labels.email_address]) == "on-call@example.com"
    error_message = "The mail goes elsewhere."
  }
  assert {
    condition     = google_monitoring_notification_channel.slack[0].labels.channel_name == "#jobs" && google_monitoring_notification_channel.slack[0].sensitive_labels[0].auth_token == null
    error_message = "Slack is not told, or the state would hold its token."
  }
  assert {
    condition     = length(local.channels) == 2 && length(google_billing_budget.month[0].all_updates_rule[0].monitoring_notification_channels) == 1
    error_message = "A channel is missing."
  }
  assert {
    condition     = google_billing_budget.month[0].amount[0].specified_amount[0].units == "50" && length(google_billing_budget.month[0].threshold_rules) == 3
    error_message = "The budget is another one."
  }
}

run "old_images_go_and_what_a_rollback_needs_stays" {
  command = plan

  assert {
    condition     = { for policy in google_artifact_registry_repository.images.cleanup_policies : policy.id => policy.action } == { keep-for-rollback = "KEEP", delete-untagged = "DELETE", delete-old = "DELETE" }
    error_message = "The clean-up is another one."
  }
  assert {
    condition     = google_artifact_registry_repository.bills.repository_id == "jobs-bills" && google_artifact_registry_repository.bills.format == "GENERIC" && length(google_artifact_registry_repository.bills.cleanup_policies) == 0
    error_message = "Bills of materials go, or CI keeps them elsewhere."
  }
}
