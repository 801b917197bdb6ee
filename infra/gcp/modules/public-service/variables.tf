variable "name" {
  description = "The service: its folder, and its Cloud Run service."
  type        = string

  validation {
    # It is an account id, too.
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.name))
    error_message = "The name has 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "project" {
  description = "Id and number of the project; the number is part of every service's address."
  type        = object({ id = string, number = string })
}

variable "region" {
  description = "Region of the service."
  type        = string
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

variable "timeout_seconds" {
  description = "What one request may take."
  type        = number
}

variable "scaling" {
  description = "Instances of the service, and requests that one of them works on at a time."
  type = object({
    concurrency   = number
    max_instances = number
    min_instances = optional(number, 0)
  })
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
  description = "Plain environment variables, besides those that follow from the project."
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
