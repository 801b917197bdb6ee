# A whole project: copy this folder, put in your own values, and follow infra/gcp/README.md.
terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }

  # The bucket is named at `terraform init -backend-config=bucket=…`.
  backend "gcs" {
    prefix = "jobs"
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Budgets are billed, and limited, to a project.
  billing_project       = var.project
  user_project_override = true
}

variable "project" {
  description = "Id of the project."
  type        = string
  default     = "catchup-example"
}

variable "region" {
  description = "Region of everything that has one."
  type        = string
  default     = "europe-west1"
}

variable "slack_token" {
  description = "Token of Google's Slack application (TF_VAR_slack_token)."
  type        = string
  default     = null
  sensitive   = true
}

module "jobs" {
  # In a copy: git::https://github.com/OWNER/REPOSITORY.git//infra/gcp?ref=COMMIT (all of it is fetched, as it has to be:
  # the declarations are next to this folder).
  source = "../"

  project = var.project
  region  = var.region
  release = "first"

  # At first nothing is taken over. Then queue by queue, by scripts/ops takeover (infra/docs/takeover.md), and both lists stay as
  # they are. Without `predecessor` leave both lists out: then all are enabled.
  predecessor = {
    url                   = "https://api.example.com"
    service_account_email = "tasks@${var.project}.iam.gserviceaccount.com"
  }
  enabled_queues = []
  # Null: the schedules of every queue that is not enabled are created paused.
  paused_schedules = null

  producers = {
    for queue in ["calendar-sync", "google-contacts-sync", "suggestion-regeneration"] :
    queue => ["serviceAccount:application@${var.project}.iam.gserviceaccount.com"]
  }

  database = {
    instance = "${var.project}:${var.region}:catchup"
    name     = "catchup"
    user     = "jobs"
  }

  settings = {
    LOG_LEVEL            = "info"
    LEGACY_SLOT_CACHE    = "true"
    APP_BASE_URL         = "https://app.example.com"
    CALENDAR_WEBHOOK_URL = "https://webhooks-123456789012.europe-west1.run.app/google-calendar"
    POSTAL_ADDRESS       = "Example Inc., 1 Example Street, Springfield, IL 62701, USA"
    TWILIO_PHONE_NUMBER  = "+15550100"
    WEBHOOKS_URL         = "https://webhooks-123456789012.europe-west1.run.app"
    SENDGRID_FROM_EMAIL  = "hello@example.com"
  }

  emails      = ["on-call@example.com"]
  slack       = { channel = "#jobs" }
  slack_token = var.slack_token
  runbook_url = "https://github.com/example/catchup-jobs/blob/main/infra/docs/runbook.md"

  ci        = { repository = "example/catchup-jobs", repository_id = "123456789" }
  operators = ["group:on-call@example.com"]
  budget    = { billing_account = "000000-000000-000000", amount = 50 }
}

# By themselves, because they are needed when nothing else is there yet.
output "registry" {
  description = "Where images are pushed."
  value       = module.jobs.registry
}

output "secrets" {
  description = "Secrets that wait for a value, each with the functions that read it."
  value       = module.jobs.secrets
}

output "jobs" {
  description = "What operators and CI need to know."
  value       = module.jobs
}
