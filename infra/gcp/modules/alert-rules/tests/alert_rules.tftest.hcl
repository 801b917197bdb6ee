run "the_rules_of_prometheus_are_those_of_the_list" {
  assert {
    condition     = output.files.prometheus == file("${path.module}/../../../prometheus/rules.yaml")
    error_message = "infra/prometheus/rules.yaml is out of date: run scripts/terraform --write."
  }
  assert {
    condition     = output.files.cloud == file("${path.module}/../../tests/alerts/rules.yaml")
    error_message = "infra/gcp/tests/alerts/rules.yaml is out of date: run scripts/terraform --write."
  }
}

# promtool runs them (scripts/terraform); here, that each rule is in them.
run "every_rule_is_seen_to_fire_and_to_stay_silent_in_both_systems" {
  assert {
    condition = alltrue([
      for system, folder in { prometheus = "../../../prometheus", cloud = "../../tests/alerts" } : alltrue([
        for fires in [true, false] : length(setsubtract(
          [for name, rule in output.rules : name if rule[system] != null],
          flatten([
            for file in ["tests.yaml", "tests-of-days.yaml"] : [
              for test in yamldecode(file("${path.module}/${folder}/${file}")).tests : [
                for check in test.promql_expr_test : flatten(regexall("alertname=\"([a-z0-9-]+)\", alertstate=\"firing\"", check.expr))
                if can(check.exp_samples) == fires
              ]
            ]
          ]),
        )) == 0
      ])
    ])
    error_message = "A rule has no test in which it fires, or none in which it is silent."
  }
}

run "the_longest_job_of_each_timeout_is_seen_to_be_no_stuck_queue" {
  assert {
    condition = alltrue([
      for timeout in toset([for queue in jsondecode(file("${path.module}/../../../queues.json")).queues : queue.timeoutSeconds]) : anytrue(flatten([
        for test in yamldecode(file("${path.module}/../../tests/alerts/tests.yaml")).tests : [
          for series in test.input_series : endswith("${series.series} ${series.values}", "outcome=\"done\"} 0x${19 + timeout / 60} 1x60")
        ] if startswith(test.name, "the longest job of each queue")
      ]))
    ])
    error_message = "A queue's timeout is in no test of stuck-queue: a job may answer after all of it."
  }
}

run "what_is_not_ours_is_not_watched" {
  variables {
    enabled        = ["calendar-sync", "token-refresh"]
    scheduled      = ["token-refresh"]
    long_lookbacks = false
  }

  assert {
    condition     = [for name, rule in output.rules : name if rule.alert == "missed-sweep"] == ["missed-sweep-24h-critical"] && !strcontains(output.rules["missed-sweep-24h-critical"].prometheus, "webhook-renewal")
    error_message = "A sweep is missed that another scheduler creates."
  }
  assert {
    condition     = !strcontains(output.rules["stuck-queue-critical"].cloud, "webhook-renewal") && strcontains(output.rules["lost-calls-critical"].cloud, "\"(calendar-sync|token-refresh)-queue\"")
    error_message = "The predecessor's answers are taken for ours."
  }
  assert {
    condition     = output.rules["response-time-warning"].cloud == null && output.rules["response-time-warning"].prometheus != null
    error_message = "A look-back is too long."
  }
}

run "without_queues_no_query_is_malformed" {
  variables {
    enabled   = []
    scheduled = []
  }

  assert {
    condition     = output.rules["stuck-queue-critical"].cloud == null && output.rules["stuck-queue-critical"].prometheus == null && length([for rule in output.rules : rule if rule.alert == "missed-sweep"]) == 0
    error_message = "A query asks for nothing."
  }
}

run "without_long_lookbacks_no_rule_of_cloud_monitoring_needs_more_than_25_hours" {
  variables {
    long_lookbacks = false
  }

  assert {
    condition = alltrue([
      for name, rule in output.rules : rule.cloud == null ? true : alltrue([
        for range in regexall("\\[([0-9]+)([smhdw])\\]", rule.cloud) :
        tonumber(range[0]) * { s = 1, m = 60, h = 3600, d = 86400 }[range[1]] + tonumber(regex("[0-9]+", rule.for)) * { s = 1, m = 60, h = 3600 }[regex("[smh]$", rule.for)] <= 90000
      ]) && !can(regex("offset [0-9]+[dw]", rule.cloud))
    ])
    error_message = "Cloud Monitoring refuses the rule without a preview feature."
  }
  assert {
    condition     = toset([for name, rule in output.rules : name if rule.cloud == null && rule.prometheus != null && rule.alert != "vendor-time"]) == toset(["missed-sweep-6h-critical", "missed-sweep-12h-critical", "missed-sweep-24h-critical", "response-time-warning"])
    error_message = "The runbook names other rules that need the preview feature."
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
      lost-calls-critical        = 2
      many-dispatches-warning    = 0
      missed-sweep-15m-critical  = 0
      missed-sweep-1h-critical   = 0
      missed-sweep-6h-critical   = 0
      missed-sweep-12h-critical  = 0
      missed-sweep-24h-critical  = 0
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
    condition     = startswith(output.rules["queue-depth-warning"].cloud, "(max by (queue) (label_replace(cloudtasks_googleapis_com:queue_depth{}, ")
    error_message = "A metric of Google's own keeps its name."
  }
  assert {
    condition     = endswith(output.rules["cache-hit-rate-warning"].prometheus, ") < 0.7")
    error_message = "The direction was lost."
  }
}
