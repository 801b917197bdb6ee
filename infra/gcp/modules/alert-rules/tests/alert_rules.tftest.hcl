run "the_rules_of_prometheus_are_those_of_the_list" {
  assert {
    condition     = output.prometheus == file("${path.module}/../../../prometheus/rules.yaml")
    error_message = "infra/prometheus/rules.yaml is out of date: run scripts/terraform --write."
  }
}

run "every_alert_becomes_rules" {
  assert {
    condition     = toset([for rule in output.rules : rule.alert]) == toset(keys(local.alerts))
    error_message = "An alert has no threshold."
  }
  assert {
    condition     = alltrue([for rule in output.rules : rule.prometheus != null && rule.cloud != null || rule.note != ""])
    error_message = "An alert is missing in one of the systems, and no reason is given."
  }
}

run "the_list_has_what_operators_were_promised" {
  assert {
    condition = jsonencode({
      for name, rule in output.rules : name => rule.threshold
      }) == jsonencode({
      failure-rate-warning       = 0.01
      failure-rate-critical      = 0.05
      dead-letters-warning       = 0
      queue-depth-warning        = 100
      stuck-queue-critical       = 0
      latency-warning            = 10
      latency-critical           = 30
      response-time-warning      = 1.2
      redis-commands-warning     = 400000
      redis-commands-critical    = 450000
      redis-errors-critical      = 5
      cache-hit-rate-warning     = 0.7
      channel-renewals-warning   = 0.05
      stale-channels-warning     = 0
      unknown-deliveries-warning = 0
      vendor-time-warning        = 1.2
      token-failures-warning     = 0.1

      refused-tokens-critical       = 0
      google-misconfigured-critical = 0

      application-refused-critical = 0
      provider-unavailable-warning = 10
      failed-messages-warning      = 0.05
    })
    error_message = "A threshold is missing or another one."
  }
}

run "names_are_spelled_out_for_each_system" {
  assert {
    condition     = output.rules["dead-letters-warning"].cloud == "(sum by (queue) (increase(logging_googleapis_com:user_jobs_tasks_total{monitored_resource=\"cloud_run_revision\",outcome=\"dead\"}[1h]))) > 0"
    error_message = "A log-based metric has another name in Cloud Monitoring."
  }
  assert {
    condition     = output.rules["queue-depth-warning"].cloud == "(max by (queue_id) (cloudtasks_googleapis_com:queue_depth{})) > 100"
    error_message = "A metric of Google's own keeps its name."
  }
  assert {
    condition     = endswith(output.rules["cache-hit-rate-warning"].prometheus, ") < 0.7")
    error_message = "The direction was lost."
  }
}
