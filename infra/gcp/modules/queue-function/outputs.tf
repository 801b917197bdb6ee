output "queue" {
  description = "Name of the Cloud Tasks queue."
  value       = google_cloud_tasks_queue.queue.name
}

output "url" {
  description = "Address of the service."
  value       = local.url
}

output "enabled" {
  description = "Whether the queue sends its tasks to this function."
  # gcloud leaves an empty target in a queue that was given back.
  value = anytrue([for override in flatten(google_cloud_tasks_queue.queue.http_target[*].uri_override) : try(length(override.host), 0) > 0])
}

output "scheduled" {
  description = "Whether schedules of this function fill the queue."
  value       = anytrue([for schedule in google_cloud_scheduler_job.schedule : !schedule.paused])
}

output "members" {
  description = "The identities as IAM members: `service`, `queue` and, with schedules, `cron`."
  value       = local.members
}

output "producers" {
  description = "Those of the members that create tasks in the queue."
  value       = local.producers
}

output "callers" {
  description = "Who may create a task that calls in the queue's name."
  value       = google_service_account_iam_binding.act_as_queue.members
}

output "invokers" {
  description = "Who may call the service."
  value       = module.cloud_run.invoker.members
}

output "secrets" {
  description = "Secrets that the service may read, by the environment variables that they are in."
  value       = toset(keys(module.cloud_run.access))
}
