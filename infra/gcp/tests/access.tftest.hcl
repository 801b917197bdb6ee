# Who may do what.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  producers = { calendar-sync = ["serviceAccount:application@example.iam.gserviceaccount.com"] }
  ci        = { repository = "example/jobs", repository_id = "123", branch = "main" }
}

run "each_service_is_called_by_its_queue_only" {
  command = plan

  assert {
    condition = jsonencode({ for name, function in module.function : name => function.invokers }) == jsonencode({
      for name in keys(local.queues) : name => ["serviceAccount:${name}-queue@example.iam.gserviceaccount.com"]
    })
    error_message = "Another identity may call a service."
  }
}

run "everybody_may_call_the_webhook_receiver_and_nothing_else" {
  command = plan

  assert {
    condition     = [for name, service in module.service : name if contains(service.invokers, "allUsers")] == ["webhooks"]
    error_message = "Another service is public, or vendors cannot reach the one that is."
  }
  assert {
    condition = length([
      for function in module.function : function if contains(function.invokers, "allUsers") || contains(function.invokers, "allAuthenticatedUsers")
    ]) == 0
    error_message = "A function is public."
  }
  assert {
    condition     = output.calendar_webhook_url == "https://webhooks-123456789012.europe-west1.run.app/google-calendar"
    error_message = "Google would be told another address."
  }
}

run "the_webhook_receiver_may_enqueue_syncs_and_read_the_database" {
  command = plan

  assert {
    condition = [
      for name, binding in google_cloud_tasks_queue_iam_binding.enqueuer : name
      if contains(binding.members, "serviceAccount:webhooks@example.iam.gserviceaccount.com")
    ] == ["calendar-sync"]
    error_message = "It may fill other queues."
  }
  assert {
    condition     = module.service["webhooks"].secrets == toset(["DATABASE_PASSWORD", "LINK_SIGNING_KEYS", "TWILIO_AUTH_TOKEN", "UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_REST_URL"])
    error_message = "It may read other secrets."
  }
  assert {
    condition     = alltrue([for function in module.function : !contains(function.callers, "serviceAccount:webhooks@example.iam.gserviceaccount.com")])
    error_message = "It may call a function in a queue's name."
  }
}

run "each_queue_is_filled_by_those_who_have_work_for_it" {
  command = plan

  # The function itself and its schedules fill a queue, and besides them only who is named here.
  assert {
    condition = jsonencode({
      for name, binding in google_cloud_tasks_queue_iam_binding.enqueuer :
      name => sort([for member in binding.members : trimsuffix(trimprefix(member, "serviceAccount:"), "@example.iam.gserviceaccount.com")])
      }) == jsonencode({
      for name, queue in local.queues :
      name => sort(concat([name], length(queue.schedules) > 0 ? ["${name}-cron"] : [], lookup({
        calendar-sync           = ["adaptive-sync", "application", "webhook-renewal", "webhooks"]
        google-contacts-sync    = ["adaptive-sync"]
        webhook-renewal         = ["webhook-health-check"]
        suggestion-regeneration = ["calendar-sync"]
      }, name, [])))
    })
    error_message = "Another identity may fill a queue, or a producer may not."
  }
  assert {
    condition     = alltrue([for name, binding in google_cloud_tasks_queue_iam_binding.enqueuer : binding.role == "roles/cloudtasks.enqueuer" && binding.name == "${name}-queue"])
    error_message = "The right is another one."
  }
}

run "each_service_reads_its_secrets_and_no_others" {
  command = plan

  # Every service reads three, and besides them only those that are named here.
  assert {
    condition = jsonencode({
      for name, function in module.function :
      name => sort(setsubtract(function.secrets, ["DATABASE_PASSWORD", "UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_REST_URL"]))
      }) == jsonencode({
      for name in keys(local.queues) :
      name => lookup({
        token-refresh         = ["ENCRYPTION_KEY", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
        calendar-sync         = ["ENCRYPTION_KEY", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
        google-contacts-sync  = ["ENCRYPTION_KEY", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
        webhook-renewal       = ["ENCRYPTION_KEY", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
        webhook-health-check  = ["ENCRYPTION_KEY", "GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
        batch-notifications   = ["LINK_SIGNING_KEYS", "SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]
        notification-reminder = ["LINK_SIGNING_KEYS", "SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]
        token-health-reminder = ["LINK_SIGNING_KEYS", "SENDGRID_API_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]
      }, name, [])
    })
    error_message = "A service may read other secrets."
  }
  assert {
    condition     = alltrue([for function in module.function : length(setsubtract(["DATABASE_PASSWORD", "UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_REST_URL"], function.secrets)) == 0])
    error_message = "A service lacks what every service needs."
  }
  assert {
    condition     = toset(keys(google_secret_manager_secret.secret)) == toset(distinct(flatten([for function in module.function : tolist(function.secrets)])))
    error_message = "There is a secret that no service reads, or a service reads one that is not there."
  }
}

run "the_mail_server_replaces_sendgrid_with_all_its_rights" {
  command = plan

  variables {
    email_provider = "smtp"
    settings = {
      LOG_LEVEL            = "info"
      LEGACY_SLOT_CACHE    = "false"
      APP_BASE_URL         = "https://app.example.com"
      CALENDAR_WEBHOOK_URL = "https://webhooks-123456789012.europe-west1.run.app/google-calendar"
      POSTAL_ADDRESS       = "Example Inc., 1 Example Street"
      TWILIO_PHONE_NUMBER  = "+15550100"
      WEBHOOKS_URL         = "https://webhooks-123456789012.europe-west1.run.app"
      SMTP_FROM_EMAIL      = "hello@example.com"
    }
  }

  assert {
    condition     = contains(module.function["batch-notifications"].secrets, "SMTP_URL") && !contains(keys(google_secret_manager_secret.secret), "SENDGRID_API_KEY")
    error_message = "E-mail has the wrong secrets."
  }
}

run "only_the_delivery_of_the_repositorys_branch_may_deploy" {
  command = plan

  assert {
    condition = google_iam_workload_identity_pool_provider.ci[0].attribute_condition == join(" && ", [
      "assertion.repository_id == \"123\"",
      "assertion.ref == \"refs/heads/main\"",
      "assertion.environment + \" \" + assertion.workflow_ref in [\"production example/jobs/.github/workflows/deliver.yml@refs/heads/main\", \"scan example/jobs/.github/workflows/scan.yml@refs/heads/main\"]",
    ])
    error_message = "Others' workflows get in, or other jobs of this repository."
  }
  assert {
    condition = google_service_account_iam_binding.ci["production"].members == toset([
      "principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/jobs/attribute.jobs_delivery/123:production",
    ])
    error_message = "Others may act as the deployment."
  }
  assert {
    condition = google_service_account_iam_binding.ci["scan"].members == toset([
      "principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/jobs/attribute.jobs_delivery/123:scan",
    ])
    error_message = "The scan's identity is another job's."
  }
  assert {
    condition     = jsonencode([for grant in google_artifact_registry_repository_iam_member.scanner : [grant.repository, grant.role]]) == jsonencode([["jobs-bills", "roles/artifactregistry.reader"]]) && !contains(local.deployers, google_artifact_registry_repository_iam_member.scanner[0].member)
    error_message = "The scan may do more than read bills of materials."
  }
  assert {
    condition     = local.deployers == toset(["serviceAccount:jobs-deployment@example.iam.gserviceaccount.com"])
    error_message = "Another identity deploys."
  }
  assert {
    condition = alltrue([
      for granted in [
        google_artifact_registry_repository_iam_member.deployer,
        google_artifact_registry_repository_iam_member.deployer_keeps_bills,
        google_project_iam_member.deployer_reads_logs,
        google_project_iam_member.deployer_lists_revisions,
      ] :
      toset(keys(granted)) == local.deployers
    ])
    error_message = "The deployment lacks a right, or another identity has it."
  }
  assert {
    condition = (
      google_cloud_tasks_queue_iam_binding.deployer[0].members == local.deployers
      && google_cloud_tasks_queue_iam_binding.deployer[0].name == local.needs.deploymentQueue
      && google_cloud_tasks_queue_iam_binding.deployer[0].role == "roles/cloudtasks.enqueuer"
      && length(google_cloud_tasks_queue.deployments.http_target) == 0
    )
    error_message = "The deployment cannot send a new revision its first task, or others can."
  }
}

run "a_pool_that_the_project_has_is_used_and_its_other_providers_get_nothing" {
  command = plan

  variables {
    ci = { repository = "example/jobs", repository_id = "123", pool = "github" }
  }

  assert {
    condition     = length(google_iam_workload_identity_pool.ci) == 0 && google_iam_workload_identity_pool_provider.ci[0].workload_identity_pool_id == "github"
    error_message = "Another pool is made."
  }
  assert {
    condition     = toset(keys(google_iam_workload_identity_pool_provider.ci[0].attribute_mapping)) == toset(["attribute.jobs_delivery", "google.subject"]) && endswith(one(google_service_account_iam_binding.ci["production"].members), "/workloadIdentityPools/github/attribute.jobs_delivery/123:production")
    error_message = "An identity of another provider of the pool may act as the deployment."
  }
}

run "others_may_deploy_where_they_are_named" {
  command = plan

  variables {
    ci        = null
    deployers = ["serviceAccount:builds@example.iam.gserviceaccount.com"]
  }

  assert {
    condition     = local.deployers == toset(["serviceAccount:builds@example.iam.gserviceaccount.com"])
    error_message = "Another identity deploys."
  }
}

run "operators_may_do_what_the_runbook_asks_and_no_more" {
  command = plan

  variables {
    ci          = null
    operators   = ["group:on-call@example.com"]
    predecessor = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
  }

  assert {
    condition = google_project_iam_custom_role.operator[0].permissions == toset([
      "cloudtasks.queues.get", "cloudtasks.queues.pause", "cloudtasks.queues.purge", "cloudtasks.queues.resume", "cloudtasks.queues.update",
      "cloudtasks.tasks.create", "cloudtasks.tasks.delete", "cloudtasks.tasks.fullView", "cloudtasks.tasks.get", "cloudtasks.tasks.list",
      "cloudtasks.tasks.run",
    ])
    error_message = "Operators cannot hold a queue, or could delete one."
  }
  assert {
    condition     = google_project_iam_custom_role.schedule_operator[0].permissions == toset(["cloudscheduler.jobs.enable", "cloudscheduler.jobs.get", "cloudscheduler.jobs.pause", "cloudscheduler.jobs.run"]) && keys(google_project_iam_member.operator_holds_schedules) == ["group:on-call@example.com"]
    error_message = "Operators cannot hold a schedule, or could change one."
  }
  assert {
    condition = jsonencode({ for name, binding in google_cloud_tasks_queue_iam_binding.operator : name => [binding.name, binding.role, binding.members] }) == jsonencode({
      for name in keys(local.queues) : name => ["${name}-queue", "projects/example/roles/jobsOperator", ["group:on-call@example.com"]]
    })
    error_message = "The role is not of every queue, or another identity has it."
  }
  assert {
    condition     = alltrue([for function in module.function : contains(function.callers, "group:on-call@example.com") && !contains(function.invokers, "group:on-call@example.com")])
    error_message = "Operators cannot send a task in a queue's name, or need no queue to call a function."
  }
  assert {
    condition = jsonencode([for access in google_secret_manager_secret_iam_member.operator : [access.secret_id, access.role, access.member]]) == jsonencode([
      for name in keys(google_secret_manager_secret.secret) : ["jobs-${name}", "roles/secretmanager.secretVersionManager", "group:on-call@example.com"]
    ])
    error_message = "Operators cannot rotate a secret, or could read one."
  }
  assert {
    condition = {
      for grant in concat(
        values(google_project_iam_member.operator_sees_alerts),
        values(google_project_iam_member.operator_sees_schedules),
        values(google_project_iam_member.operator_reaches_database),
      ) :
      grant.role => grant.member
      } == {
      "roles/cloudscheduler.viewer" = "group:on-call@example.com"
      "roles/monitoring.viewer"     = "group:on-call@example.com"
      "roles/cloudsql.client"       = "group:on-call@example.com"
      "roles/cloudsql.instanceUser" = "group:on-call@example.com"
    }
    error_message = "Operators have other rights in the project."
  }
  assert {
    condition     = jsonencode([for user in google_sql_user.operator : [user.instance, user.name, user.type]]) == jsonencode([["db", "on-call@example.com", "CLOUD_IAM_GROUP"]])
    error_message = "Operators are no users of the database, or need a password."
  }
  assert {
    condition = alltrue([
      for grant in google_project_iam_member.operator_reaches_database :
      grant.condition[0].expression == "resource.service == \"sqladmin.googleapis.com\" && resource.name == \"projects/example/instances/db\""
    ])
    error_message = "Operators reach other databases."
  }
  assert {
    condition     = local.deployers == toset(["group:on-call@example.com"])
    error_message = "Operators cannot deploy or roll back."
  }
}

run "without_operators_no_identity_holds_queues" {
  command = plan

  assert {
    condition     = length(google_project_iam_custom_role.operator) == 0 && length(google_cloud_tasks_queue_iam_binding.operator) == 0
    error_message = "An identity may."
  }
}

run "without_ci_no_identity_is_trusted" {
  command = plan

  variables {
    ci = null
  }

  assert {
    condition     = length(local.deployers) == 0 && length(google_iam_workload_identity_pool_provider.ci) == 0 && output.ci == null
    error_message = "An identity may deploy."
  }
}
