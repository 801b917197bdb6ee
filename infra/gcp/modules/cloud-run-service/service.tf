# A Cloud Run service as all of ours are, and what its identity may do.
locals {
  # Not /health/ready, which asks the database: a probe must not wake it.
  health_path = "/health/live"

  member    = "serviceAccount:${var.account}"
  cloud_sql = toset(var.cloud_sql_instance[*])
}

resource "google_cloud_run_v2_service" "service" {
  project     = var.project.id
  location    = var.region
  name        = var.name
  description = var.description
  labels      = var.labels

  ingress              = var.ingress
  invoker_iam_disabled = false

  # A service has nothing to lose. The provider's default would keep an apply from replacing a service whose creation failed,
  # and with it every later apply.
  deletion_protection = false

  # Of the service, not of a revision: a canary must not double them.
  scaling {
    min_instance_count = var.scaling.min_instances
    max_instance_count = var.scaling.max_instances
  }

  template {
    service_account                  = var.account
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.scaling.concurrency

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits = var.limits
        # CPU only while a request is handled: nothing is to be done between requests.
        cpu_idle          = true
        startup_cpu_boost = var.cpu_boost
      }

      # And no liveness probe: it would be billed as CPU, on idle instances too. What hangs ends at its timeout.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 10

        http_get {
          path = local.health_path
        }
      }

      dynamic "env" {
        for_each = var.environment

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret = env.value.id
              # Not the latest: a new value would reach what serves, past the canary, and no rollback would take it back.
              version = env.value.version
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = local.cloud_sql

        content {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }
      }
    }

    dynamic "vpc_access" {
      for_each = var.network[*]

      content {
        # Vendors and Google's APIs are reached as before.
        egress = "PRIVATE_RANGES_ONLY"

        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
        }
      }
    }

    dynamic "volumes" {
      for_each = local.cloud_sql

      content {
        name = "cloudsql"

        cloud_sql_instance {
          instances = [volumes.value]
        }
      }
    }
  }

  lifecycle {
    # Which image runs, and with what share of the traffic, is the matter of deployments.
    ignore_changes = [
      client,
      client_version,
      traffic,
      template[0].labels,
      template[0].revision,
      template[0].containers[0].image,
      template[0].containers[0].name,
    ]
  }

  # A revision that may not read its secrets, or reach its database, does not start.
  depends_on = [
    google_secret_manager_secret_iam_member.access,
    google_project_iam_member.cloud_sql,
  ]
}
