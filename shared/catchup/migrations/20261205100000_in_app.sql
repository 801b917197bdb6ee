-- What the application shows to whom no other channel reaches is in the ledger, too.
ALTER TABLE jobs.notification_deliveries
    DROP CONSTRAINT notification_deliveries_channel_check,
    ADD CONSTRAINT notification_deliveries_channel_check CHECK (channel IN ('sms', 'email', 'in_app'));
