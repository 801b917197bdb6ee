//! `jobs.notification_deliveries`: the ledger of messages, each sent at most once.
