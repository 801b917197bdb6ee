variable "name" {
  description = "The function: its entry in infra/queues.json, its folder, and its Cloud Run service."
  type        = string

  validation {
    # The longest name made from it is `<name>-queue`, an account id of 6 to 30 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{4,22}[a-z0-9]$", var.name))
    error_message = "The name has 6 to 24 lower-case letters, digits and hyphens."
  }
}

variable "project" {
  description = "Id and number of the project; the number is part of every service's address."
  type        = object({ id = string, number = string })
}

variable "region" {
  description = "Region of queue, service and schedules."
  type        = string
}

variable "queue" {
  description = "The entry of infra/queues.json."
  type = object({
    attempts                = number
    minBackoffSeconds       = number
    maxBackoffSeconds       = number
    maxDoublings            = number
    maxDispatchesPerSecond  = number
    timeoutSeconds          = number
    dispatchDeadlineSeconds = number
    schedules = list(object({
      name    = string
      cron    = string
      payload = string # JSON
    }))
  })
}

variable "enabled" {
  description = "Whether the queue, when it is created, sends its tasks to this function, whatever address their producer wrote. Later, scripts/ops takeover and giveback decide."
  type        = bool
}

variable "paused_schedules" {
  description = "Whether the schedules are paused when they are created."
  type        = bool
  default     = false
}

variable "target" {
  description = "What producers write into tasks: the address, with `{function}` for the function's name, and the identity (null: the queue's own)."
  type        = object({ url = string, service_account_email = optional(string) })
}

variable "predecessor" {
  description = "Identity that creators of tasks may also name, because serving revisions do; null for none."
  type        = string
  default     = null
}

variable "image" {
  description = "Image of the first revision; deployments replace it without Terraform."
  type        = string
}

variable "scaling" {
  description = "Instances of the service, and tasks that one of them works on at a time."
  type = object({
    concurrency   = number
    max_instances = number
    min_instances = optional(number, 0)
  })

  validation {
    # 5000 is Cloud Tasks' limit on dispatches under way.
    condition     = var.scaling.concurrency * var.scaling.max_instances <= 5000
    error_message = "A queue has at most 5000 tasks under way."
  }
}

variable "limits" {
  description = "CPU and memory of an instance."
  type        = object({ cpu = string, memory = string })
  # The second generation gives no instance less.
  default = { cpu = "1", memory = "512Mi" }
}

variable "cpu_boost" {
  description = "More CPU while an instance starts. scripts/bench cold-start measures how fast they start without."
  type        = bool
  default     = false
}

variable "environment" {
  description = "Plain environment variables, besides those that follow from the queue."
  type        = map(string)
}

variable "secrets" {
  description = "Environment variables from Secret Manager, each with the id of its secret and the version that is read."
  type        = map(object({ id = string, version = number }))
}

variable "cloud_sql_instance" {
  description = "Connection name (project:region:instance) of the database, mounted below /cloudsql; null when it is reached otherwise."
  type        = string
}

variable "operators" {
  description = "Who may create tasks by hand, as IAM members."
  type        = set(string)
  default     = []
}

variable "log_sampling_ratio" {
  description = "Share of the queue's operations that Cloud Tasks logs: creations, calls and their answers."
  type        = number
  default     = 1
}

variable "network" {
  description = "Network and subnetwork from which private addresses are reached; null when none is."
  type        = object({ network = string, subnetwork = string })
  default     = null
}

variable "labels" {
  description = "Labels of the service."
  type        = map(string)
  default     = {}
}

variable "deployers" {
  description = "Who may deploy new revisions, as IAM members."
  type        = set(string)
  default     = []
}
