output "url" {
  description = "Address of the service."
  value       = local.url
}

output "member" {
  description = "The service's identity as an IAM member."
  value       = local.member
}

output "invokers" {
  description = "Who may call the service."
  value       = module.cloud_run.invoker.members
}

output "callers" {
  description = "Who may create a task that calls in the service's name."
  value       = google_service_account_iam_binding.act_as_service.members
}

output "secrets" {
  description = "Secrets that the service may read, by the environment variables that they are in."
  value       = toset(keys(module.cloud_run.access))
}
