variable "project" {
  description = "Id of the project."
  type        = string
}

variable "region" {
  description = "Region of everything that has one."
  type        = string
}

variable "enabled_queues" {
  description = "Queues whose tasks these functions run from their creation on; the others' tasks go where their producer said. Null: all. Later, scripts/ops takeover and giveback decide, and no apply changes it: what is watched follows them."
  type        = set(string)
  default     = null

  validation {
    condition     = length(setsubtract(coalesce(var.enabled_queues, []), keys(local.queues))) == 0
    error_message = "enabled_queues names a queue that infra/queues.json does not have."
  }

  validation {
    condition     = var.enabled_queues == null || local.has_predecessor || length(setsubtract(keys(local.queues), coalesce(var.enabled_queues, []))) == 0
    error_message = "Without a predecessor, or with one that is retired, no service runs the tasks of a queue that is not enabled."
  }
}

variable "paused_schedules" {
  description = "Queues whose schedules are created paused. Null: all that are not enabled. Later, scripts/ops takeover and giveback decide."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(coalesce(var.paused_schedules, []), keys(local.queues))) == 0
    error_message = "paused_schedules names a queue that infra/queues.json does not have."
  }
}

variable "predecessor" {
  description = "The service from which queues are taken over, and the identity that it accepts from Cloud Tasks. New tasks carry both, so that a queue can be given back with all that is in it, until it is retired: then only revisions from before still name it, and may. Null: there is none, or none any more."
  type        = object({ url = string, service_account_email = string, retired = optional(bool, false) })
  default     = null
}

variable "producers" {
  description = "Who creates tasks besides the functions and their schedules (the application), as IAM members by queue."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.producers), keys(local.queues))) == 0
    error_message = "producers names a queue that infra/queues.json does not have."
  }
}

variable "release" {
  description = "Tag of the images with which services are created; deployments replace them without Terraform."
  type        = string
}

variable "settings" {
  description = "Values of the plain variables that functions.json names; the optional ones only if wanted."
  type        = map(string)

  validation {
    condition     = length(setsubtract(local.setting_names, keys(var.settings))) == 0
    error_message = "settings lacks ${join(", ", setsubtract(local.setting_names, keys(var.settings)))}."
  }
}

variable "secret_versions" {
  description = "Version of each secret that new revisions read; 1 where none is named."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.secret_versions), local.secret_names)) == 0
    error_message = "secret_versions names a secret that no function reads."
  }
}

variable "email_provider" {
  description = "E-mail provider: sendgrid, or smtp for a mail server."
  type        = string
  default     = "sendgrid"

  validation {
    condition     = contains(["sendgrid", "smtp"], var.email_provider)
    error_message = "E-mail goes through sendgrid or smtp."
  }
}

variable "database" {
  description = "Postgres in Cloud SQL: connection name (project:region:instance), database, user, connections that one instance holds, and connections that all functions together may hold. With `private`, it is reached by its private address, from a subnetwork (direct VPC egress) of at least a /26."
  type = object({
    instance        = string
    name            = string
    user            = string
    pool_size       = optional(number, 4)
    max_connections = optional(number, 100)
    private         = optional(object({ address = string, network = string, subnetwork = string }))
  })

  validation {
    condition     = var.database.private == null || can(cidrhost("${var.database.private.address}/32", 0))
    error_message = "The private address is an IPv4 address."
  }

  validation {
    condition     = can(regex("^[^:]+:[^:]+:[^:]+$", var.database.instance))
    error_message = "The instance is named as project:region:instance."
  }

  validation {
    condition     = split(":", var.database.instance)[0] == var.project
    error_message = "The instance is in another project, where the functions get no right to connect to it."
  }

  validation {
    condition     = var.database.pool_size * local.max_instances <= var.database.max_connections
    error_message = "All services at their maxInstances (${local.max_instances}) would hold ${var.database.pool_size * local.max_instances} connections, and database.max_connections allows ${var.database.max_connections}. Raise it, if the database accepts that many next to the application's (its own flag max_connections); or lower maxInstances in functions.json, or database.pool_size."
  }
}

variable "queue_log_sampling_ratio" {
  description = "Share of the operations on queues that Cloud Tasks logs. All of them cost nothing for 10,000 users (scripts/ops cost); with less, some calls that are turned away are written down nowhere."
  type        = number
  default     = 1

  validation {
    condition     = var.queue_log_sampling_ratio >= 0 && var.queue_log_sampling_ratio <= 1
    error_message = "A share is between 0 and 1."
  }
}

variable "secret_prefix" {
  description = "What the names of the secrets begin with, so that they are not the application's in the same project. Empty for a project whose secrets were made without."
  type        = string
  default     = "jobs-"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{0,64}$", var.secret_prefix))
    error_message = "Names of secrets have letters, digits, hyphens and underscores."
  }
}

variable "labels" {
  description = "Labels of everything that has labels, besides app=jobs."
  type        = map(string)
  default     = {}
}

variable "long_lookbacks" {
  description = "Whether alerts may look back more than 25 hours, the time for which a rule must hold included, which is a preview feature of Cloud Monitoring. Without, response-time is left out, and missed-sweep of schedules of six hours or longer."
  type        = bool
  default     = true
}

variable "cpu_boost" {
  description = "Functions whose instances get more CPU while they start. scripts/bench cold-start measures how fast they start without."
  type        = set(string)
  default     = []
}

variable "min_instances" {
  description = "Instances that are kept warm, by function; the others sleep between tasks."
  type        = map(number)
  default     = {}
}

variable "emails" {
  description = "Addresses that alerts and budget notices go to."
  type        = set(string)
}

variable "slack" {
  description = "Slack channel that alerts go to; null for none."
  type        = object({ channel = string, token_version = optional(string, "1") })
  default     = null
}

variable "slack_token" {
  description = "Token of Google's Slack application. It is sent once for each slack.token_version and kept nowhere."
  type        = string
  default     = null
  sensitive   = true
}

variable "runbook_url" {
  description = "Address of infra/docs/runbook.md as operators read it; alerts link to its sections."
  type        = string
}

variable "ci" {
  description = "GitHub repository (owner/name), its number (gh api repos/OWNER/NAME --jq .id) and the branch whose delivery may push images and deploy; null for none. `pool` is the id of a workload identity pool that the project has already; without it, one is made."
  type = object({
    repository    = string
    repository_id = string
    branch        = optional(string, "main")
    pool          = optional(string)
  })
  default = null

  validation {
    condition     = var.ci == null || can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.ci.repository))
    error_message = "The repository is named as owner/name."
  }

  validation {
    condition     = var.ci == null || can(regex("^[0-9]+$", var.ci.repository_id))
    error_message = "The repository's number has digits only."
  }
}

variable "cloud_build" {
  description = "Repository on GitHub, as Cloud Build is connected to it (projects/PROJECT/locations/REGION/connections/CONNECTION/repositories/NAME), and the branch that the builds of infra/cloudbuild test and deploy; null for none."
  type        = object({ repository = string, branch = optional(string, "main") })
  default     = null

  validation {
    condition     = var.cloud_build == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.cloud_build.repository))
    error_message = "The repository is named as projects/PROJECT/locations/REGION/connections/CONNECTION/repositories/NAME."
  }
}

variable "deployers" {
  description = "Who deploys besides those (a group of people), as IAM members."
  type        = set(string)
  default     = []
}

variable "operators" {
  description = "Who does what the runbook asks for (a group of people), deployments included, as IAM members."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(group|serviceAccount|user):[^:]+@[^:]+$", member))])
    error_message = "An operator is user:E-MAIL, group:E-MAIL or serviceAccount:E-MAIL."
  }
}

variable "budget" {
  description = "Billing account, and the monthly amount in whole units of the account's currency; null for none."
  type        = object({ billing_account = string, amount = number })
  default     = null
}
