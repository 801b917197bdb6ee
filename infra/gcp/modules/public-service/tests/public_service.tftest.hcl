# The one service that anybody may call.
mock_provider "google" {}

variables {
  name               = "webhooks"
  project            = { id = "example", number = "123456789012" }
  region             = "europe-west1"
  target             = { url = "https://{function}-123456789012.europe-west1.run.app" }
  image              = "europe-west1-docker.pkg.dev/example/jobs/webhooks:first"
  timeout_seconds    = 15
  scaling            = { concurrency = 80, max_instances = 2 }
  environment        = { LOG_LEVEL = "info" }
  secrets            = { DATABASE_PASSWORD = { id = "DATABASE_PASSWORD", version = 1 } }
  cloud_sql_instance = "example:europe-west1:db"
}

run "everybody_may_call_it_from_everywhere" {
  command = plan

  assert {
    condition     = module.cloud_run.invoker.members == toset(["allUsers"]) && module.cloud_run.invoker.role == "roles/run.invoker"
    error_message = "Vendors cannot call it."
  }
  assert {
    condition     = module.cloud_run.service.ingress == "INGRESS_TRAFFIC_ALL"
    error_message = "Vendors cannot reach it."
  }
}

run "its_instances_and_requests_are_bounded" {
  command = plan

  assert {
    condition     = module.cloud_run.service.scaling[0].max_instance_count == 2 && module.cloud_run.service.scaling[0].min_instance_count == 0
    error_message = "It may grow without a limit, or does not sleep."
  }
  assert {
    condition     = module.cloud_run.service.template[0].max_instance_request_concurrency == 80 && module.cloud_run.service.template[0].timeout == "15s"
    error_message = "A request may take an instance for itself, or for long."
  }
}

run "it_names_itself_in_its_tasks_and_acts_as_no_other_identity" {
  command = plan

  assert {
    condition     = google_service_account_iam_binding.act_as_service.members == toset(["serviceAccount:webhooks@example.iam.gserviceaccount.com"])
    error_message = "It cannot create a task, or another identity may in its name."
  }
  assert {
    condition     = length(google_service_account_iam_member.act_as_predecessor) == 0 && length(module.cloud_run.developer) == 0
    error_message = "It has more rights than it needs."
  }
  assert {
    condition     = { for env in module.cloud_run.service.template[0].containers[0].env : env.name => env.value if env.name == "SERVICE_ACCOUNT_EMAIL" } == { SERVICE_ACCOUNT_EMAIL = "webhooks@example.iam.gserviceaccount.com" }
    error_message = "Its tasks carry another identity."
  }
}
