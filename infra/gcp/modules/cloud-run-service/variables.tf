variable "name" {
  description = "Name of the service."
  type        = string
}

variable "project" {
  description = "Id and number of the project; the number is part of every service's address."
  type        = object({ id = string, number = string })
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "description" {
  description = "What the service does."
  type        = string
}

variable "ingress" {
  description = "From where the service can be reached."
  type        = string
}

variable "invokers" {
  description = "Who may call the service, as IAM members."
  type        = list(string)
}

variable "account" {
  description = "E-mail address of the identity that the service runs as."
  type        = string
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
}

variable "cpu_boost" {
  description = "More CPU while an instance starts."
  type        = bool
}

variable "environment" {
  description = "Plain environment variables."
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
}
