-- Of which lists of messages a person has left, per channel: the person's own word. `is_shown` is true where it is also written in
-- the application's preferences, so that true there again lifts it.
CREATE TABLE jobs.opt_outs (
    user_id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('sms', 'email')),
    list text NOT NULL CHECK (list IN ('ideas', 'account')),
    reason text NOT NULL CHECK (reason IN ('stop', 'unsubscribe', 'complaint')),
    is_shown boolean NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (user_id, channel, list)
);

-- Callbacks that changed what a person wants: each does so once, however often it is delivered.
CREATE TABLE jobs.handled_callbacks (
    id text PRIMARY KEY,
    handled_at timestamptz NOT NULL
);
CREATE INDEX handled_callbacks_age ON jobs.handled_callbacks (handled_at);

-- Whom a person never wants to be suggested.
CREATE TABLE jobs.excluded_contacts (
    user_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (user_id, contact_id)
);

-- To which address or number a message went, as a digest: what bounced says nothing about the next one.
ALTER TABLE jobs.notification_deliveries ADD COLUMN address_hash bytea;
