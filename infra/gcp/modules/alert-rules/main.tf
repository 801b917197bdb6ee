# Spells infra/alerts.json out, for Cloud Monitoring and for Prometheus: one rule for each threshold of an alert.
#
# `prometheus` is PromQL over what the functions serve at /metrics, `cloud` the same over Cloud Monitoring: left out, the
# names are the same; null, Google has no such number. A metric is written with its braces, `name{}`; in `cloud`, a name
# without a colon is a log-based one.
terraform {
  required_version = ">= 1.11"
}

locals {
  alerts = jsondecode(file("${path.module}/../../../alerts.json")).alerts

  cloud = {
    for id, alert in local.alerts : id => try(alert.cloud, "") == null ? null : replace(
      replace(
        try(alert.cloud, alert.prometheus),
        "/(^|[^a-z_:])([a-z_]+)\\{/",
        "$${1}logging_googleapis_com:user_jobs_$${2}{monitored_resource=\"cloud_run_revision\",",
      ),
      ",}", "}",
    )
  }

  rules = merge([
    for id, alert in local.alerts : {
      for severity in ["warning", "critical"] : "${id}-${severity}" => {
        alert      = id
        severity   = severity
        summary    = alert.summary
        then       = alert.then
        note       = try(alert.note, "")
        for        = alert.for
        threshold  = alert[severity]
        cloud      = try("(${local.cloud[id]}) ${local.is[id]} ${alert[severity]}", null)
        prometheus = try("(${alert.prometheus}) ${local.is[id]} ${alert[severity]}", null)
      } if can(alert[severity])
    }
  ]...)

  is = { for id, alert in local.alerts : id => try(alert.below, false) ? "<" : ">" }
}

output "rules" {
  description = "Rules by name: severity, texts, duration, threshold, and a query for each system (null where it has none)."
  value       = local.rules
}

output "queries" {
  description = "What each alert looks at in Cloud Monitoring, without a threshold."
  value       = { for id, query in local.cloud : id => query if query != null }
}

output "prometheus" {
  description = "The text of infra/prometheus/rules.yaml."
  value = templatefile("${path.module}/rules.yaml.tftpl", {
    rules = { for name, rule in local.rules : name => rule if rule.prometheus != null }
  })
}
