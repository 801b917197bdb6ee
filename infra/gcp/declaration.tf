locals {
  declaration = jsondecode(file("${path.module}/../queues.json"))
  queues      = local.declaration.queues

  needs     = jsondecode(file("${path.module}/functions.json"))
  functions = local.needs.functions
  # Without a queue, and open to everybody.
  services = local.needs.services
  names    = concat(keys(local.functions), keys(local.services))
  # Of all together: each holds connections to the database.
  max_instances = sum([for service in concat(values(local.functions), values(local.services)) : service.maxInstances])
  features = {
    for name, function in local.functions : name => concat([local.needs.every], [
      for feature in function.features : local.needs.features[feature == "email" ? var.email_provider : feature]
    ])
  }

  # What each of them reads from Secret Manager, and what it is told in the clear.
  secrets = merge(
    { for name, features in local.features : name => toset(flatten(features[*].secrets)) },
    { for name, service in local.services : name => toset(service.secrets) },
  )
  variables = merge(
    { for name, features in local.features : name => toset(flatten(features[*].variables)) },
    { for name, service in local.services : name => toset(service.variables) },
  )

  # What each of them is told only where it is set.
  optional = merge(
    { for name, features in local.features : name => toset(flatten([for feature in features : try(feature.optional, [])])) },
    { for name, service in local.services : name => toset(try(service.optional, [])) },
  )

  secret_names  = toset(flatten([for names in local.secrets : tolist(names)]))
  setting_names = toset(flatten([for names in local.variables : tolist(names)]))

  # Whether there is a service that runs the tasks of a queue that is not enabled.
  has_predecessor = contains(var.predecessor[*].retired, false)

  # On everything that has labels: bills and inventories are read by them.
  labels = merge({ app = "jobs" }, var.labels)

  enabled = toset(var.enabled_queues == null ? keys(local.queues) : var.enabled_queues)
  # Whose schedules are paused.
  paused = toset(var.paused_schedules == null ? setsubtract(keys(local.queues), local.enabled) : var.paused_schedules)
}
