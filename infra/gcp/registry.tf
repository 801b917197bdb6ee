locals {
  registry = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = "jobs"
  format        = "DOCKER"
  labels        = local.labels
  description   = "One image per function. Services run digests, so tags are for people."

  # What is kept wins over what is deleted.
  cleanup_policies {
    id     = "keep-for-rollback"
    action = "KEEP"

    most_recent_versions {
      keep_count = 20
    }
  }

  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"

    condition {
      tag_state  = "UNTAGGED"
      older_than = "604800s"
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      tag_state  = "ANY"
      older_than = "7776000s"
    }
  }

  depends_on = [google_project_service.api]
}

# What is in each image that was delivered, by function and commit. Small, and kept for good: the question comes late.
resource "google_artifact_registry_repository" "bills" {
  project       = var.project
  location      = var.region
  repository_id = "jobs-bills"
  format        = "GENERIC"
  labels        = local.labels
  description   = "Bills of materials (CycloneDX), one per function and commit."

  depends_on = [google_project_service.api]
}

# What a build in Cloud Build hands on to the deployment, by the build's ID.
resource "google_artifact_registry_repository" "candidates" {
  count = length(local.cloud_build)

  project       = var.project
  location      = var.region
  repository_id = "jobs-candidates"
  format        = "GENERIC"
  labels        = local.labels
  description   = "Images, bills of materials and the program that deploys them, one archive per build."

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "604800s"
    }
  }

  depends_on = [google_project_service.api]
}
