output "functions" {
  description = "Each function with its address, its queue, and whether it has taken over the queue and its schedules."
  value = {
    for name, function in module.function :
    name => { url = function.url, queue = function.queue, enabled = function.enabled, scheduled = function.scheduled }
  }
}

output "calendar_webhook_url" {
  description = "Where Google Calendar sends push notifications, for CALENDAR_WEBHOOK_URL; not before the service is there."
  value       = "${module.service["webhooks"].url}/google-calendar"
}

output "project" {
  description = "Where all of it is."
  value       = var.project
}

output "region" {
  description = "Where all of it is that has a region."
  value       = var.region
}

output "registry" {
  description = "Where images are pushed."
  value       = local.registry
}

output "secrets" {
  description = "Secrets that wait for a value, each with the functions that read it."
  # Of the resources, so that it is known as soon as these are there.
  value = {
    for secret, container in google_secret_manager_secret.secret :
    container.secret_id => [for name, names in local.secrets : name if contains(names, secret)]
  }
}

output "ci" {
  description = "What GitHub's workflows log in with."
  value = one([for provider in google_iam_workload_identity_pool_provider.ci : {
    workload_identity_provider = provider.name
    service_account            = "${google_service_account.ci[0].account_id}@${var.project}.iam.gserviceaccount.com"
    scanner                    = "${google_service_account.scanner[0].account_id}@${var.project}.iam.gserviceaccount.com"
  }])
}
