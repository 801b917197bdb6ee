mock_provider "google" {}

variables {
  name    = "token-refresh"
  project = { id = "example", number = "123456789012" }
  region  = "europe-west1"
  enabled = true
  queue = {
    attempts                = 3
    minBackoffSeconds       = 60
    maxBackoffSeconds       = 3600
    maxDoublings            = 2
    maxDispatchesPerSecond  = 10
    timeoutSeconds          = 120
    dispatchDeadlineSeconds = 180
    schedules               = [{ name = "sweep", cron = "0 3 * * *", payload = "{\"some\":\"<payload>\"}" }]
  }
  target      = { url = "https://{function}-123456789012.europe-west1.run.app" }
  image       = "europe-west1-docker.pkg.dev/example/jobs/token-refresh:first"
  scaling     = { concurrency = 16, max_instances = 2 }
  environment = { LOG_LEVEL = "info", DATABASE_HOST = "/cloudsql/example:europe-west1:db" }
  secrets = {
    ENCRYPTION_KEY    = { id = "ENCRYPTION_KEY", version = 1 }
    DATABASE_PASSWORD = { id = "DATABASE_PASSWORD", version = 3 }
  }
  cloud_sql_instance = "example:europe-west1:db"
  deployers          = ["serviceAccount:ci@example.iam.gserviceaccount.com"]
}

run "the_queue_has_the_declared_limits" {
  command = plan

  assert {
    condition     = google_cloud_tasks_queue.queue.name == "token-refresh-queue"
    error_message = "A queue is named after its function."
  }
  assert {
    condition     = google_cloud_tasks_queue.queue.rate_limits[0].max_dispatches_per_second == 10
    error_message = "The rate is not the declared one."
  }
  assert {
    condition     = google_cloud_tasks_queue.queue.rate_limits[0].max_concurrent_dispatches == 32
    error_message = "The queue sends more, or less, than the service holds."
  }
  assert {
    condition = google_cloud_tasks_queue.queue.retry_config[0] == {
      max_attempts       = -1
      min_backoff        = "60s"
      max_backoff        = "3600s"
      max_doublings      = 2
      max_retry_duration = "0s"
    }
    error_message = "The retries are not the declared ones, or Cloud Tasks ends tasks of a queue that is enabled."
  }
}

run "an_enabled_queue_sends_every_task_to_its_function_in_its_own_name" {
  command = plan

  assert {
    condition     = google_cloud_tasks_queue.queue.http_target[0].http_method == "POST"
    error_message = "A task is posted."
  }
  assert {
    condition = alltrue([
      google_cloud_tasks_queue.queue.http_target[0].uri_override[0].uri_override_enforce_mode == "ALWAYS",
      google_cloud_tasks_queue.queue.http_target[0].uri_override[0].scheme == "HTTPS",
      google_cloud_tasks_queue.queue.http_target[0].uri_override[0].host == "token-refresh-123456789012.europe-west1.run.app",
      google_cloud_tasks_queue.queue.http_target[0].uri_override[0].path_override[0].path == "/api/jobs/token-refresh",
    ])
    error_message = "The target is not the function's."
  }
  assert {
    condition = google_cloud_tasks_queue.queue.http_target[0].oidc_token[0] == {
      service_account_email = "token-refresh-queue@example.iam.gserviceaccount.com"
      audience              = "https://token-refresh-123456789012.europe-west1.run.app"
    }
    error_message = "The queue calls with another identity, or for another audience."
  }
  assert {
    condition     = google_cloud_tasks_queue.queue.retry_config[0].max_attempts == -1
    error_message = "Cloud Tasks ends tasks of a queue whose function counts their failures."
  }
}

run "a_queue_that_is_not_enabled_leaves_its_tasks_to_their_producer" {
  command = plan

  variables {
    enabled = false
  }

  assert {
    condition     = length(google_cloud_tasks_queue.queue.http_target) == 0 && !output.enabled
    error_message = "The queue is taken over."
  }
  assert {
    condition = google_cloud_tasks_queue.queue.retry_config[0] == {
      max_attempts       = 3
      min_backoff        = "60s"
      max_backoff        = "3600s"
      max_doublings      = 2
      max_retry_duration = "0s"
    }
    error_message = "The predecessor cannot end a task: only its own number of attempts does."
  }
}

run "the_service_is_internal_bounded_and_probed_where_it_is_alive" {
  command = plan

  assert {
    condition     = module.cloud_run.service.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && !module.cloud_run.service.invoker_iam_disabled
    error_message = "The service is open to the internet, or to everybody."
  }
  assert {
    condition     = module.cloud_run.service.template[0].service_account == "token-refresh@example.iam.gserviceaccount.com"
    error_message = "The service does not run as itself."
  }
  assert {
    condition = alltrue([
      module.cloud_run.service.template[0].execution_environment == "EXECUTION_ENVIRONMENT_GEN2",
      module.cloud_run.service.template[0].timeout == "180s",
      module.cloud_run.service.template[0].max_instance_request_concurrency == 16,
      module.cloud_run.service.scaling[0].min_instance_count == 0,
      module.cloud_run.service.scaling[0].max_instance_count == 2,
    ])
    error_message = "Timeout, concurrency or scaling differ from what is declared."
  }
  assert {
    condition = module.cloud_run.service.template[0].containers[0].resources[0] == {
      limits            = tomap({ cpu = "1", memory = "512Mi" })
      cpu_idle          = true
      startup_cpu_boost = false
    }
    error_message = "The instance has other resources."
  }
  assert {
    condition     = module.cloud_run.service.template[0].containers[0].startup_probe[0].http_get[0].path == "/health/live"
    error_message = "The probe asks another path: Google's front end keeps /healthz, and /health/ready wakes the database."
  }
  assert {
    condition     = length(module.cloud_run.service.template[0].containers[0].liveness_probe) == 0
    error_message = "A probe is billed on idle instances."
  }
  assert {
    condition     = google_cloud_tasks_queue.queue.stackdriver_logging_config[0].sampling_ratio == 1
    error_message = "Calls that are turned away are written down nowhere."
  }
}

run "a_private_address_is_reached_through_the_network_and_nothing_else_is" {
  command = plan

  variables {
    cloud_sql_instance = null
    network            = { network = "default", subnetwork = "functions" }
    labels             = { app = "jobs" }
  }

  assert {
    condition     = module.cloud_run.service.template[0].vpc_access[0].egress == "PRIVATE_RANGES_ONLY" && module.cloud_run.service.template[0].vpc_access[0].network_interfaces[0].subnetwork == "functions"
    error_message = "The database cannot be reached, or vendors are reached through the network."
  }
  assert {
    condition     = length(module.cloud_run.service.template[0].volumes) == 0 && length(module.cloud_run.cloud_sql) == 0
    error_message = "The socket is mounted, or the right to it is granted, although nothing uses it."
  }
  assert {
    condition     = module.cloud_run.service.labels == tomap({ app = "jobs", service = "token-refresh" })
    error_message = "Bills cannot be read by service."
  }
}

run "the_boost_of_the_cpu_can_be_turned_on" {
  command = plan

  variables {
    cpu_boost = true
  }

  assert {
    condition     = module.cloud_run.service.template[0].containers[0].resources[0].startup_cpu_boost
    error_message = "There is no boost."
  }
}

run "secrets_are_references_and_everything_else_is_plain" {
  command = plan

  assert {
    condition = jsonencode({
      for env in module.cloud_run.service.template[0].containers[0].env :
      env.name => env.value_source[0].secret_key_ref[0] if length(env.value_source) > 0
      }) == jsonencode({
      for name, secret in var.secrets : name => { secret = secret.id, version = tostring(secret.version) }
    })
    error_message = "The secrets are not those of the declaration, or of another version."
  }
  assert {
    condition = jsonencode({
      for env in module.cloud_run.service.template[0].containers[0].env : env.name => env.value if length(env.value_source) == 0
      }) == jsonencode({
      LOG_LEVEL             = "info"
      DATABASE_HOST         = "/cloudsql/example:europe-west1:db"
      GCP_PROJECT_ID        = "example"
      GCP_REGION            = "europe-west1"
      CLOUD_RUN_URL         = "https://{function}-123456789012.europe-west1.run.app"
      SERVICE_ACCOUNT_EMAIL = "token-refresh-queue@example.iam.gserviceaccount.com"
      OIDC_CALLERS          = "token-refresh-queue@example.iam.gserviceaccount.com"
      OIDC_AUDIENCES        = "https://token-refresh-123456789012.europe-west1.run.app"
    })
    error_message = "The plain variables are others."
  }
  assert {
    condition = { for name, access in module.cloud_run.access : name => [access.secret_id, access.role, access.member] } == {
      for name in ["DATABASE_PASSWORD", "ENCRYPTION_KEY"] :
      name => [name, "roles/secretmanager.secretAccessor", "serviceAccount:token-refresh@example.iam.gserviceaccount.com"]
    }
    error_message = "The service may read other secrets."
  }
}

run "only_the_queue_may_call_the_service" {
  command = plan

  assert {
    condition = alltrue([
      module.cloud_run.invoker.role == "roles/run.invoker",
      module.cloud_run.invoker.name == "token-refresh",
      module.cloud_run.invoker.members == toset(["serviceAccount:token-refresh-queue@example.iam.gserviceaccount.com"]),
    ])
    error_message = "Another identity may call the service."
  }
  assert {
    condition     = module.cloud_run.developer[0].members == toset(var.deployers) && google_service_account_iam_binding.act_as_service[0].members == toset(var.deployers)
    error_message = "Another identity than CI may deploy."
  }
  assert {
    condition = google_service_account_iam_binding.act_as_queue.members == toset([
      "serviceAccount:token-refresh@example.iam.gserviceaccount.com",
      "serviceAccount:token-refresh-cron@example.iam.gserviceaccount.com",
      # Which sends a new revision its first task.
      "serviceAccount:ci@example.iam.gserviceaccount.com",
    ]) && google_service_account_iam_binding.act_as_queue.role == "roles/iam.serviceAccountUser"
    error_message = "Others may create tasks in the queue's name."
  }
  assert {
    condition     = length(google_service_account_iam_member.act_as_predecessor) == 0
    error_message = "Without a predecessor its identity has no use."
  }
}

run "without_a_deployment_no_identity_may_deploy" {
  command = plan

  variables {
    deployers = []
  }

  assert {
    condition     = length(module.cloud_run.developer) == 0 && length(google_service_account_iam_binding.act_as_service) == 0
    error_message = "An identity may deploy."
  }
}

run "the_database_is_the_only_one_that_can_be_reached" {
  command = plan

  assert {
    condition     = one(module.cloud_run.service.template[0].volumes).cloud_sql_instance[0].instances == toset(["example:europe-west1:db"])
    error_message = "Another instance is mounted."
  }
  assert {
    condition     = one(module.cloud_run.service.template[0].containers[0].volume_mounts).mount_path == "/cloudsql"
    error_message = "The sockets are elsewhere."
  }
  assert {
    condition = alltrue([
      for access in module.cloud_run.cloud_sql :
      access.role == "roles/cloudsql.client" && strcontains(access.condition[0].expression, "resource.name == \"projects/example/instances/db\"")
    ]) && length(module.cloud_run.cloud_sql) == 1
    error_message = "The service may connect to other instances."
  }
}

run "a_database_that_is_reached_otherwise_needs_no_mount" {
  command = plan

  variables {
    cloud_sql_instance = null
  }

  assert {
    condition     = length(module.cloud_run.service.template[0].volumes) == 0 && length(module.cloud_run.cloud_sql) == 0
    error_message = "There is a mount, or a right."
  }
}

run "a_schedule_creates_the_task_that_the_function_expects" {
  command = plan

  assert {
    condition = alltrue([
      google_cloud_scheduler_job.schedule["sweep"].name == "token-refresh-sweep",
      google_cloud_scheduler_job.schedule["sweep"].schedule == "0 3 * * *",
      google_cloud_scheduler_job.schedule["sweep"].time_zone == "Etc/UTC",
      !google_cloud_scheduler_job.schedule["sweep"].paused,
      google_cloud_scheduler_job.schedule["sweep"].http_target[0].uri == "https://cloudtasks.googleapis.com/v2/projects/example/locations/europe-west1/queues/token-refresh-queue/tasks",
      google_cloud_scheduler_job.schedule["sweep"].http_target[0].http_method == "POST",
      google_cloud_scheduler_job.schedule["sweep"].http_target[0].oauth_token[0].service_account_email == "token-refresh-cron@example.iam.gserviceaccount.com",
    ])
    error_message = "The schedule does something else."
  }
  assert {
    condition = jsondecode(base64decode(google_cloud_scheduler_job.schedule["sweep"].http_target[0].body)).task == {
      dispatchDeadline = "180s"
      httpRequest = {
        httpMethod = "POST"
        url        = "https://token-refresh-123456789012.europe-west1.run.app/api/jobs/token-refresh"
        headers    = { "Content-Type" = "application/json" }
        body       = base64encode(jsonencode({ data = { some = "<payload>" }, jobName = "token-refresh" }))
        oidcToken = {
          serviceAccountEmail = "token-refresh-queue@example.iam.gserviceaccount.com"
          audience            = "https://token-refresh-123456789012.europe-west1.run.app"
        }
      }
    }
    error_message = "The task is another one."
  }
}

run "a_queue_without_a_schedule_has_no_identity_for_it" {
  command = plan

  variables {
    queue = {
      attempts                = 5
      minBackoffSeconds       = 30
      maxBackoffSeconds       = 1800
      maxDoublings            = 3
      maxDispatchesPerSecond  = 20
      timeoutSeconds          = 300
      dispatchDeadlineSeconds = 360
      schedules               = []
    }
  }

  assert {
    condition     = toset(keys(google_service_account.account)) == toset(["service", "queue"]) && length(google_cloud_scheduler_job.schedule) == 0
    error_message = "There is an identity without a use."
  }
}

run "tasks_name_the_predecessor_until_it_is_gone" {
  command = plan

  variables {
    enabled     = false
    target      = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
    predecessor = "tasks@example.iam.gserviceaccount.com"
  }

  assert {
    condition = jsonencode({
      for env in module.cloud_run.service.template[0].containers[0].env : env.name => env.value
      if contains(["CLOUD_RUN_URL", "SERVICE_ACCOUNT_EMAIL", "OIDC_CALLERS", "OIDC_AUDIENCES"], env.name)
      }) == jsonencode({
      CLOUD_RUN_URL         = "https://api.example.com"
      SERVICE_ACCOUNT_EMAIL = "tasks@example.iam.gserviceaccount.com"
      OIDC_CALLERS          = "token-refresh-queue@example.iam.gserviceaccount.com"
      OIDC_AUDIENCES        = "https://token-refresh-123456789012.europe-west1.run.app"
    })
    error_message = "The function creates tasks for another service, or accepts others than its queue."
  }
  assert {
    condition = {
      for key in ["url", "oidcToken"] :
      key => jsonencode(jsondecode(base64decode(google_cloud_scheduler_job.schedule["sweep"].http_target[0].body)).task.httpRequest[key])
      } == {
      url       = jsonencode("https://api.example.com/api/jobs/token-refresh")
      oidcToken = jsonencode({ serviceAccountEmail = "tasks@example.iam.gserviceaccount.com", audience = "https://api.example.com" })
    }
    error_message = "The scheduled task names another service."
  }
  assert {
    condition     = toset(keys(google_service_account_iam_member.act_as_predecessor)) == toset(output.producers) && length(output.producers) == 2
    error_message = "Who creates tasks may not name the predecessor's identity."
  }
  assert {
    condition     = module.cloud_run.invoker.members == toset(["serviceAccount:token-refresh-queue@example.iam.gserviceaccount.com"])
    error_message = "The predecessor's identity may call the service."
  }
}

run "revisions_from_before_may_name_a_predecessor_that_tasks_no_longer_name" {
  command = plan

  variables {
    predecessor = "tasks@example.iam.gserviceaccount.com"
  }

  assert {
    condition = alltrue([
      for grant in google_service_account_iam_member.act_as_predecessor :
      grant.service_account_id == "projects/example/serviceAccounts/tasks@example.iam.gserviceaccount.com" && grant.role == "roles/iam.serviceAccountUser"
    ]) && toset(keys(google_service_account_iam_member.act_as_predecessor)) == toset(output.producers)
    error_message = "What still serves may create no task."
  }
  assert {
    condition = one([
      for env in module.cloud_run.service.template[0].containers[0].env : env.value if env.name == "SERVICE_ACCOUNT_EMAIL"
    ]) == "token-refresh-queue@example.iam.gserviceaccount.com"
    error_message = "New revisions still name the predecessor."
  }
}

run "operators_create_tasks_in_the_name_of_the_queue_or_of_the_predecessor" {
  command = plan

  variables {
    operators   = ["group:on-call@example.com"]
    predecessor = "tasks@example.iam.gserviceaccount.com"
  }

  assert {
    condition     = output.callers == setunion(output.producers, ["group:on-call@example.com"], var.deployers) && length(output.callers) == 4
    error_message = "Operators may not send a task, or others may."
  }
  assert {
    condition     = toset(keys(google_service_account_iam_member.act_as_predecessor)) == setsubtract(output.callers, var.deployers)
    error_message = "A dead letter cannot be replayed as long as tasks name the predecessor."
  }
  assert {
    condition     = !contains(module.cloud_run.invoker.members, "group:on-call@example.com")
    error_message = "Operators may call the service past its queue."
  }
}

run "schedules_can_rest" {
  command = plan

  variables {
    paused_schedules = true
  }

  assert {
    condition     = google_cloud_scheduler_job.schedule["sweep"].paused
    error_message = "The schedule runs."
  }
}

run "a_name_that_makes_too_long_an_account_is_refused" {
  command = plan

  variables {
    name = "a-function-with-a-name-too-long"
  }

  expect_failures = [var.name]
}

run "more_under_way_than_cloud_tasks_allows_is_refused" {
  command = plan

  variables {
    scaling = { concurrency = 1000, max_instances = 6 }
  }

  expect_failures = [var.scaling]
}
