# Cloud Build in the place of GitHub's workflows.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

run "builds_deploy_write_their_log_and_see_other_builds" {
  command = plan

  variables {
    cloud_build = true
  }

  assert {
    condition     = local.deployers == toset(["serviceAccount:jobs-builds@example.iam.gserviceaccount.com"])
    error_message = "Builds may not deploy, or another identity may."
  }
  assert {
    condition = { for role, grant in google_project_iam_member.cloud_build : role => grant.member } == {
      "roles/logging.logWriter"        = "serviceAccount:jobs-builds@example.iam.gserviceaccount.com"
      "roles/cloudbuild.builds.viewer" = "serviceAccount:jobs-builds@example.iam.gserviceaccount.com"
    }
    error_message = "A build cannot write its log, or cannot ask what was delivered last."
  }
  assert {
    condition     = contains(keys(google_project_service.api), "cloudbuild.googleapis.com")
    error_message = "Cloud Build is switched off."
  }
  assert {
    condition     = output.cloud_build == "jobs-builds@example.iam.gserviceaccount.com"
    error_message = "The trigger is not told as whom it runs."
  }
}

run "without_builds_no_identity_is_trusted" {
  command = plan

  assert {
    condition     = length(local.deployers) == 0 && output.cloud_build == null && !contains(keys(google_project_service.api), "cloudbuild.googleapis.com")
    error_message = "Builds may deploy."
  }
}
