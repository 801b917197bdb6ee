resource "google_monitoring_notification_channel" "email" {
  for_each = var.emails

  project      = var.project
  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_notification_channel" "slack" {
  count = length(var.slack[*])

  project      = var.project
  display_name = var.slack.channel
  type         = "slack"
  labels       = { channel_name = var.slack.channel }

  # Write-only: the token is neither in the state nor in a plan of later runs.
  sensitive_labels {
    auth_token_wo         = var.slack_token
    auth_token_wo_version = var.slack.token_version
  }

  depends_on = [google_project_service.api]
}

locals {
  email_channels = [for channel in google_monitoring_notification_channel.email : channel.name]
  channels       = concat(local.email_channels, google_monitoring_notification_channel.slack[*].name)
}
