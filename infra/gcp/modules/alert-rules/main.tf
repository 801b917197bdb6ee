# Spells infra/alerts.json out, for Cloud Monitoring and for Prometheus: one rule for each threshold of an alert.
#
# `prometheus` is PromQL over what the functions serve at /metrics, `cloud` the same over Cloud Monitoring: left out, the
# names are the same; null, Google has no such number. A metric is written with its braces, `name{}`; in `cloud`, a name
# without a colon is a log-based one over the functions' log.
#
# {queues} is a pattern of the names of the functions that serve their queues. `per` says what else differs between queues:
#   timeout   for each length of a queue's longest job: {queues} of those queues, and {window}, that length and five minutes
#   period    for each period of schedules, as a rule of its own that holds for a period: {schedules}, one sample for each of
#             them with the labels queue and part (the value of its payload), and half a period as {window} and {seconds}
terraform {
  required_version = ">= 1.11"
}

variable "enabled" {
  description = "Queues whose tasks the functions run; null for all."
  type        = set(string)
  default     = null
}

variable "scheduled" {
  description = "Queues whose schedules the functions' sweeps follow; null for all."
  type        = set(string)
  default     = null
}

variable "long_lookbacks" {
  description = "Whether Cloud Monitoring may be asked to look back more than 25 hours, the duration of a rule included."
  type        = bool
  default     = true
}

locals {
  queues = jsondecode(file("${path.module}/../../../queues.json")).queues
  alerts = jsondecode(file("${path.module}/../../../alerts.json")).alerts

  enabled   = var.enabled == null ? toset(keys(local.queues)) : var.enabled
  scheduled = var.scheduled == null ? toset(keys(local.queues)) : var.scheduled

  grace_seconds = 300
  timeouts      = { for name in local.enabled : tostring(local.queues[name].timeoutSeconds) => name... }

  schedules = flatten([
    for name in local.scheduled : [
      for schedule in local.queues[name].schedules :
      { queue = name, part = join("", values(schedule.payload)), seconds = schedule.periodSeconds }
    ]
  ])
  periods = { for schedule in local.schedules : tostring(schedule.seconds) => schedule... }

  # What a query says instead of its placeholders, by the suffix of the rule's name: one for most, one for each period.
  variants = {
    every = {
      "" = { for_seconds = null, placeholders = [{ "{queues}" = join("|", local.enabled) }] }
    }
    timeout = {
      "" = {
        for_seconds = null
        placeholders = [
          for seconds, names in local.timeouts :
          { "{queues}" = join("|", names), "{window}" = "${tonumber(seconds) + local.grace_seconds}s" }
        ]
      }
    }
    period = {
      for seconds, schedules in local.periods :
      (tonumber(seconds) % 3600 == 0 ? "-${tonumber(seconds) / 3600}h" : "-${tonumber(seconds) / 60}m") => {
        for_seconds = tonumber(seconds)
        placeholders = [{
          "{window}"  = "${tonumber(seconds) / 2}s"
          "{seconds}" = tostring(tonumber(seconds) / 2)
          "{schedules}" = join(" or ", [
            for schedule in schedules :
            "label_replace(label_replace(vector(1), \"queue\", \"${schedule.queue}\", \"\", \"\"), \"part\", \"${schedule.part}\", \"\", \"\")"
          ])
        }]
      }
    }
  }

  # By alert, and for each variant of it: the query of each system, null where it has none.
  queries = {
    for id, alert in local.alerts : id => {
      for suffix, variant in local.variants[try(alert.per, "every")] : suffix => {
        for system, query in { prometheus = try(alert.prometheus, null), cloud = local.spelled[id] } :
        system => query == null || length(variant.placeholders) == 0 ? null : join(" or ", [
          for placeholders in variant.placeholders : replace(replace(replace(replace(query,
            "{queues}", try(placeholders["{queues}"], "")),
            "{window}", try(placeholders["{window}"], "")),
            "{seconds}", try(placeholders["{seconds}"], "")),
            "{schedules}", try(placeholders["{schedules}"], ""),
          )
        ])
      }
    }
  }

  spelled = {
    for id, alert in local.alerts : id => (
      try(alert.cloud, "") == null ? null : replace(
        replace(
          try(alert.cloud, alert.prometheus),
          "/(^|[^a-z_:])([a-z_]+)\\{/",
          "$${1}logging_googleapis_com:user_jobs_$${2}{monitored_resource=\"cloud_run_revision\",",
        ),
        ",}", "}",
      )
    )
  }

  # Prometheus writes 5m, Google 300s.
  unit = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

  # For how long a rule must hold, and how far its query looks back before that. Cloud Monitoring counts both.
  durations = {
    for id, alert in local.alerts : id => {
      for suffix, variant in local.variants[try(alert.per, "every")] : suffix =>
      variant.for_seconds != null ? variant.for_seconds : tonumber(regex("^\\d+", alert.for)) * local.unit[regex("[smh]$", alert.for)]
    }
  }
  lookbacks = {
    for id, variants in local.queries : id => {
      for suffix, variant in variants : suffix => max(0, [
        for match in regexall("\\[(\\d+)([smhdw])\\](?: offset (\\d+)([smhdw]))?", coalesce(variant.cloud, "none")) :
        tonumber(match[0]) * local.unit[match[1]] + try(tonumber(match[2]) * local.unit[match[3]], 0)
      ]...)
    }
  }
  longest_seconds = 25 * 3600

  rules = merge(flatten([
    for id, alert in local.alerts : [
      for suffix, variant in local.variants[try(alert.per, "every")] : {
        for severity in ["warning", "critical"] : "${id}${suffix}-${severity}" => {
          alert     = id
          severity  = severity
          summary   = alert.summary
          then      = alert.then
          note      = try(alert.note, "")
          for       = variant.for_seconds == null ? alert.for : "${variant.for_seconds}s"
          seconds   = local.durations[id][suffix]
          every     = try(alert.every, "60s")
          threshold = alert[severity]
          cloud = (
            var.long_lookbacks || local.lookbacks[id][suffix] + local.durations[id][suffix] <= local.longest_seconds ?
            try("(${local.queries[id][suffix].cloud}) ${local.is[id]} ${alert[severity]}", null) : null
          )
          prometheus = try("(${local.queries[id][suffix].prometheus}) ${local.is[id]} ${alert[severity]}", null)
        } if can(alert[severity])
      }
    ]
  ])...)

  is = { for id, alert in local.alerts : id => try(alert.below, false) ? "<" : ">" }
}

output "rules" {
  description = "Rules by name: severity, texts, duration, threshold, and a query for each system (null where it has none)."
  value       = local.rules
}

output "queries" {
  description = "What each alert looks at in Cloud Monitoring, without a threshold."
  value = {
    for id, variants in local.queries :
    id => join(" or ", compact([for variant in variants : variant.cloud]))
    if anytrue([for variant in variants : variant.cloud != null]) && (var.long_lookbacks || max(0, values(local.lookbacks[id])...) <= local.longest_seconds)
  }
}

# The same rules as files of Prometheus: those that it runs, and those of Cloud Monitoring, so that promtool can test them.
output "files" {
  description = "The text of infra/prometheus/rules.yaml and of infra/gcp/tests/alerts/rules.yaml."
  value = {
    for system in ["prometheus", "cloud"] : system => templatefile("${path.module}/rules.yaml.tftpl", {
      rules = { for name, rule in local.rules : name => merge(rule, { expr = rule[system] }) if rule[system] != null }
    })
  }
}
