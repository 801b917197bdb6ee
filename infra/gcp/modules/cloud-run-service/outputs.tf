output "service" {
  description = "The service."
  value       = google_cloud_run_v2_service.service
}

output "invoker" {
  description = "Who may call it."
  value       = google_cloud_run_v2_service_iam_binding.invoker
}

output "developer" {
  description = "Who may deploy it: one binding, or none."
  value       = google_cloud_run_v2_service_iam_binding.developer
}

output "access" {
  description = "The right to read each of its secrets, by environment variable."
  value       = google_secret_manager_secret_iam_member.access
}

output "cloud_sql" {
  description = "The right to reach its database, by connection name."
  value       = google_project_iam_member.cloud_sql
}
