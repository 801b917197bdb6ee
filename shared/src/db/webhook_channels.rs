//! `calendar_webhook_subscriptions` and `webhook_notifications`: push channels, and what came through them.
