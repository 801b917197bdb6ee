-- The ledger knows the message: the subjects of one digest share its id, which travels with the message, and what the provider
-- reports later is recorded under it. A revision that knows no ids gives each row one of its own.
ALTER TABLE jobs.notification_deliveries
    ADD COLUMN message_id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN failure text,
    DROP CONSTRAINT notification_deliveries_state_check,
    ADD CONSTRAINT notification_deliveries_state_check CHECK (
        state IN ('unknown', 'sent', 'delivered', 'failed', 'bounced', 'complained', 'refused')
    ),
    ADD CONSTRAINT notification_deliveries_failure_check CHECK (
        state NOT IN ('failed', 'bounced') OR failure IS NOT NULL
    );

CREATE INDEX notification_deliveries_message ON jobs.notification_deliveries (message_id);
