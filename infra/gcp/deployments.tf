# The queue through which a deployment sends a new revision its first task, which has no effects. The functions' own queues send
# everything to what serves, and may be paused; this one has no target: each of its tasks names the address of a revision's tag.
# Cloud Tasks and not the deployer calls the function, because the services accept nothing from outside the project.
resource "google_cloud_tasks_queue" "deployments" {
  project  = var.project
  location = var.region
  name     = local.needs.deploymentQueue

  # A dependency may be unavailable for a moment. The deployment waits for two minutes, and nothing waits for such a task later.
  retry_config {
    max_attempts       = 20
    min_backoff        = "1s"
    max_backoff        = "10s"
    max_retry_duration = "120s"
  }

  depends_on = [google_project_service.api]
}

resource "google_cloud_tasks_queue_iam_binding" "deployer" {
  count = length(local.deployers) > 0 ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_tasks_queue.deployments.name
  role     = "roles/cloudtasks.enqueuer"
  members  = local.deployers
}
