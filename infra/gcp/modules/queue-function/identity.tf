# Each queue has three identities: the service's own, the one with which its queue calls it, and the one that fills it on time.
resource "google_service_account" "account" {
  for_each = merge(
    {
      service = { id = var.name, what = "Runs ${var.name}" }
      queue   = { id = "${var.name}-queue", what = "Calls ${var.name}" }
    },
    local.schedules == {} ? {} : {
      cron = { id = "${var.name}-cron", what = "Creates the scheduled tasks of ${var.name}" }
    },
  )

  project      = var.project.id
  account_id   = each.value.id
  display_name = each.value.what
}

locals {
  # Written out instead of read back, so that a plan shows who gets which right.
  accounts = {
    for key, account in google_service_account.account :
    key => "${account.account_id}@${account.project}.iam.gserviceaccount.com"
  }
  members = { for key, email in local.accounts : key => "serviceAccount:${email}" }

  # The identities that create tasks of this function, besides foreign producers.
  producers = [for key in ["service", "cron"] : local.members[key] if contains(keys(local.members), key)]

  # A task carries the identity of its caller, and its creator must be allowed to act as that identity.
  creators = toset(concat(local.producers, tolist(var.operators)))
}

# A deployment sends the new revision a task of its own. Bindings and not members: what is added by hand, the next apply removes.
resource "google_service_account_iam_binding" "act_as_queue" {
  service_account_id = google_service_account.account["queue"].name
  role               = "roles/iam.serviceAccountUser"
  members            = setunion(local.creators, var.deployers)
}

# Not of the target: what serves names the predecessor until it is deployed anew.
resource "google_service_account_iam_member" "act_as_predecessor" {
  for_each = var.predecessor == null ? [] : local.creators

  service_account_id = "projects/${var.project.id}/serviceAccounts/${var.predecessor}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}

resource "google_service_account_iam_binding" "act_as_service" {
  count = length(var.deployers) > 0 ? 1 : 0

  service_account_id = google_service_account.account["service"].name
  role               = "roles/iam.serviceAccountUser"
  members            = var.deployers
}
