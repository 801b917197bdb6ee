resource "google_billing_budget" "month" {
  count = length(var.budget[*])

  billing_account = var.budget.billing_account
  display_name    = "Background jobs of ${var.project}"

  budget_filter {
    projects        = ["projects/${local.project.number}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      units = tostring(var.budget.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = { 0.5 = "CURRENT_SPEND", 0.9 = "CURRENT_SPEND", 1.0 = "FORECASTED_SPEND" }

    content {
      threshold_percent = tonumber(threshold_rules.key)
      spend_basis       = threshold_rules.value
    }
  }

  all_updates_rule {
    # At most five, and only e-mail: https://cloud.google.com/billing/docs/how-to/budgets-notification-recipients
    monitoring_notification_channels = slice(local.email_channels, 0, min(5, length(local.email_channels)))
  }

  depends_on = [google_project_service.api]
}
