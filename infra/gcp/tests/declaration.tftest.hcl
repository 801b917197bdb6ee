# One of everything per queue, and everything from the two declarations.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

run "there_is_one_of_everything_per_queue" {
  command = plan

  assert {
    condition     = length(local.queues) > 0 && keys(local.functions) == keys(local.queues) && keys(module.function) == keys(local.queues)
    error_message = "queues.json and functions.json name different functions."
  }
  assert {
    condition     = toset([for function in module.function : function.queue]) == toset([for name in keys(local.queues) : "${name}-queue"])
    error_message = "A queue has another name than its function."
  }
  assert {
    condition     = { for name, function in module.function : name => function.url } == { for name in keys(local.queues) : name => "https://${name}-123456789012.europe-west1.run.app" }
    error_message = "A function is somewhere else."
  }
  assert {
    condition     = length(distinct(flatten([for function in module.function : values(function.members)]))) == 2 * length(local.queues) + length([for queue in local.queues : queue if length(queue.schedules) > 0])
    error_message = "Functions share identities."
  }
}

run "all_queues_are_enabled_where_there_is_no_predecessor" {
  command = plan

  assert {
    condition     = alltrue([for function in module.function : function.enabled])
    error_message = "No service runs the tasks of a queue."
  }
}

run "a_queue_that_no_service_would_run_is_refused" {
  command = plan

  variables {
    enabled_queues = ["token-refresh"]
  }

  expect_failures = [var.enabled_queues]
}

run "the_queues_that_are_named_are_taken_over_and_no_others" {
  command = plan

  variables {
    enabled_queues = ["token-refresh", "calendar-sync"]
    predecessor    = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
  }

  assert {
    condition     = toset([for name, function in module.function : name if function.enabled]) == toset(["token-refresh", "calendar-sync"])
    error_message = "Others are taken over."
  }
}

run "a_retired_predecessor_runs_nothing" {
  command = plan

  variables {
    enabled_queues = ["token-refresh"]
    predecessor    = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com", retired = true }
  }

  expect_failures = [var.enabled_queues]
}

run "nothing_is_taken_over_at_first" {
  command = plan

  variables {
    enabled_queues   = []
    paused_schedules = ["token-refresh"]
    predecessor      = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
  }

  assert {
    condition     = keys(module.function) == keys(local.queues) && !anytrue([for function in module.function : function.enabled])
    error_message = "A queue is taken over that was not named."
  }
  assert {
    condition     = toset([for name, function in module.function : name if !function.scheduled]) == toset(concat(["token-refresh"], [for name, queue in local.queues : name if length(queue.schedules) == 0]))
    error_message = "Other schedules are paused than those that are named."
  }
}

run "schedules_are_paused_until_their_queue_is_taken_over" {
  command = plan

  variables {
    enabled_queues   = ["token-refresh"]
    paused_schedules = null
    predecessor      = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
  }

  assert {
    condition     = [for name, function in module.function : name if function.scheduled] == ["token-refresh"]
    error_message = "A schedule runs next to the predecessor's, or none fills a queue that was taken over."
  }
}

run "names_that_are_not_declared_are_refused" {
  command = plan

  variables {
    enabled_queues   = ["token-refesh"]
    predecessor      = { url = "https://api.example.com", service_account_email = "tasks@example.iam.gserviceaccount.com" }
    paused_schedules = ["token-refesh"]
    producers        = { token-refesh = [] }
  }

  expect_failures = [var.enabled_queues, var.paused_schedules, var.producers]
}

run "a_version_of_a_secret_that_no_service_reads_is_refused" {
  command = plan

  variables {
    secret_versions = { TWILIO_AUTH_TOKNE = 2 }
  }

  expect_failures = [var.secret_versions]
}

run "a_missing_setting_is_refused" {
  command = plan

  variables {
    settings = { LOG_LEVEL = "info" }
  }

  expect_failures = [var.settings]
}

run "a_database_of_another_project_is_refused" {
  command = plan

  variables {
    database = { instance = "another:europe-west1:db", name = "catchup", user = "jobs" }
  }

  expect_failures = [var.database]
}

run "more_connections_than_the_database_has_are_refused" {
  command = plan

  variables {
    database = { instance = "example:europe-west1:db", name = "catchup", user = "jobs", max_connections = 20 }
  }

  expect_failures = [var.database]
}
