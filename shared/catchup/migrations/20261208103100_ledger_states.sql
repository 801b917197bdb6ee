-- Messages of any state are listed, not only those of unknown status.
CREATE INDEX notification_deliveries_state ON jobs.notification_deliveries (state, claimed_at);
DROP INDEX jobs.notification_deliveries_unknown;
