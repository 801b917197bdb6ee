mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

run "the_example_can_be_planned_as_it_stands" {
  command = plan

  variables {
    slack_token = "not a token"
  }

  assert {
    condition     = toset([for name, function in output.jobs.functions : name if function.enabled]) == toset(["token-refresh", "adaptive-sync"])
    error_message = "Other queues are taken over than the file says."
  }
}
