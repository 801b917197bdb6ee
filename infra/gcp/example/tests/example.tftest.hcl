mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

run "the_example_can_be_planned_as_it_stands_and_takes_nothing_over" {
  command = plan

  variables {
    slack_token = "not a token"
  }

  assert {
    condition     = length(output.jobs.functions) > 0 && !anytrue([for function in output.jobs.functions : function.enabled])
    error_message = "A queue is taken over before anything was checked."
  }
  assert {
    condition     = !anytrue([for function in output.jobs.functions : function.scheduled])
    error_message = "A schedule runs next to the predecessor's."
  }
}
