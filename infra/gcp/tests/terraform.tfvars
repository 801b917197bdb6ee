# What every test here starts from.
project = "example"
region  = "europe-west1"
release = "first"

database = {
  instance = "example:europe-west1:db"
  name     = "catchup"
  user     = "jobs"
}

settings = {
  LOG_LEVEL            = "info"
  LEGACY_SLOT_CACHE    = "false"
  APP_BASE_URL         = "https://app.example.com"
  CALENDAR_WEBHOOK_URL = "https://webhooks-123456789012.europe-west1.run.app/google-calendar"
  POSTAL_ADDRESS       = "Example Inc., 1 Example Street"
  TWILIO_PHONE_NUMBER  = "+15550100"
  WEBHOOKS_URL         = "https://webhooks-123456789012.europe-west1.run.app"
  SENDGRID_FROM_EMAIL  = "hello@example.com"
}

emails      = ["on-call@example.com"]
runbook_url = "https://example.com/runbook.md"
