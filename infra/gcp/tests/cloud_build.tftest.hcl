# Cloud Build in the place of GitHub's workflows.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }

  override_during = plan
  mock_resource "google_cloudbuild_trigger" {
    defaults = { trigger_id = "00000000-0000-0000-0000-000000000001" }
  }
}

variables {
  cloud_build = { repository = "projects/example/locations/europe-west1/connections/github/repositories/jobs" }
}

run "the_account_that_compiles_hands_on_candidates_and_nothing_else" {
  command = plan

  assert {
    condition     = google_cloudbuild_trigger.build[0].service_account == "projects/example/serviceAccounts/jobs-builds@example.iam.gserviceaccount.com"
    error_message = "Builds run as another account."
  }
  # Deployers, operators and callers have all other rights in the project; these grants are the only ones besides.
  assert {
    condition = !anytrue([
      for members in concat(
        [local.deployers, var.operators],
        [for function in module.function : function.invokers],
        [for function in module.function : function.callers],
        [for service in module.service : service.invokers],
        [for binding in google_cloud_tasks_queue_iam_binding.enqueuer : binding.members],
      ) : contains(members, "serviceAccount:jobs-builds@example.iam.gserviceaccount.com")
    ])
    error_message = "A build may do what a deployment does."
  }
  assert {
    condition = toset([for grant in google_project_iam_member.cloud_build : grant.role if startswith(grant.member, "serviceAccount:jobs-builds@")]) == toset([
      "roles/cloudbuild.builds.viewer",
      "roles/logging.logWriter",
    ])
    error_message = "A build may do more or less in the project than write its log and ask what was delivered last."
  }
  assert {
    condition = jsonencode([for grant in google_artifact_registry_repository_iam_member.candidates : [grant.repository, grant.role] if startswith(grant.member, "serviceAccount:jobs-builds@")]) == jsonencode([
      ["jobs-candidates", "roles/artifactregistry.writer"],
    ])
    error_message = "A build cannot hand on its candidate, or may write elsewhere."
  }
}

run "the_account_that_deploys_reads_candidates_and_builds" {
  command = plan

  assert {
    condition     = local.deployers == toset(["serviceAccount:jobs-deployment@example.iam.gserviceaccount.com"])
    error_message = "Deployments may not deploy, or another identity may."
  }
  assert {
    condition     = google_cloudbuild_trigger.deploy[0].service_account == "projects/example/serviceAccounts/jobs-deployment@example.iam.gserviceaccount.com"
    error_message = "Deployments run as another account."
  }
  assert {
    condition = toset([for grant in google_project_iam_member.cloud_build : grant.role if startswith(grant.member, "serviceAccount:jobs-deployment@")]) == toset([
      "roles/cloudbuild.builds.viewer",
      "roles/logging.logWriter",
    ])
    error_message = "A deployment cannot write its log, or cannot wait for its turn."
  }
  assert {
    condition = jsonencode([for grant in google_artifact_registry_repository_iam_member.candidates : [grant.repository, grant.role] if startswith(grant.member, "serviceAccount:jobs-deployment@")]) == jsonencode([
      ["jobs-candidates", "roles/artifactregistry.reader"],
    ])
    error_message = "A deployment cannot read its candidate, or may change it."
  }
}

run "a_build_of_the_branch_that_has_succeeded_is_deployed_by_what_the_branch_says" {
  command = plan

  variables {
    cloud_build = { repository = "projects/example/locations/europe-west1/connections/github/repositories/jobs", branch = "release" }
  }

  assert {
    condition     = google_cloudbuild_trigger.build[0].repository_event_config[0].push[0].branch == "^release$"
    error_message = "Another branch is built."
  }
  assert {
    condition = (
      google_cloudbuild_trigger.deploy[0].git_file_source[0].revision == "refs/heads/release"
      && google_cloudbuild_trigger.deploy[0].source_to_build[0].ref == "refs/heads/release"
    )
    error_message = "A deployment does what another branch says."
  }
  assert {
    condition     = google_cloudbuild_trigger.deploy[0].filter == "_STATUS == \"SUCCESS\" && _TRIGGER == \"00000000-0000-0000-0000-000000000001\""
    error_message = "A build that has failed is deployed, or one of another trigger."
  }
  # To a topic of our own, the account of a build would have to publish.
  assert {
    condition     = google_cloudbuild_trigger.deploy[0].pubsub_config[0].topic == "projects/example/topics/cloud-builds"
    error_message = "A deployment is started through another topic."
  }
}

run "builds_have_the_services_that_they_need" {
  command = plan

  assert {
    condition     = length(setsubtract(["cloudbuild.googleapis.com", "pubsub.googleapis.com"], keys(google_project_service.api))) == 0
    error_message = "Cloud Build is switched off, or cannot say that a build has succeeded."
  }
}

run "without_builds_no_identity_is_trusted" {
  command = plan

  variables {
    cloud_build = null
  }

  assert {
    condition     = length(local.deployers) == 0 && length(google_cloudbuild_trigger.deploy) == 0 && !contains(keys(google_project_service.api), "cloudbuild.googleapis.com")
    error_message = "Builds may deploy."
  }
}
