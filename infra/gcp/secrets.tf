# Containers only. Values are added by hand (README.md), so that no state ever holds one; who reads which is said in
# functions.json and granted secret by secret.
resource "google_secret_manager_secret" "secret" {
  for_each = local.secret_names

  project   = var.project
  secret_id = "${var.secret_prefix}${each.value}"
  labels    = local.labels

  replication {
    auto {}
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [google_project_service.api]
}
