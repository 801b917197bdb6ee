-- What people were told, by which channel: nobody is told anything twice. A row is claimed, as `unknown`, before anything
-- is sent, and settled by the provider's answer; one that stays `unknown` is for an operator to look into.
CREATE TABLE jobs.notification_deliveries (
    user_id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('sms', 'email')),
    subject text NOT NULL,
    state text NOT NULL DEFAULT 'unknown' CHECK (state IN ('unknown', 'sent', 'refused')),
    claimed_at timestamptz NOT NULL,
    settled_at timestamptz,
    provider text,
    provider_id text,
    refusal text,
    PRIMARY KEY (user_id, channel, subject),
    CHECK (state <> 'sent' OR provider_id IS NOT NULL),
    CHECK (state <> 'refused' OR refusal IS NOT NULL),
    CHECK ((state = 'unknown') = (settled_at IS NULL))
);

CREATE INDEX notification_deliveries_unknown ON jobs.notification_deliveries (claimed_at) WHERE state = 'unknown';
