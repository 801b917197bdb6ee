-- Channels whose provider has not answered: how often in a row, and when one message may try again. Without it, every message of an
-- hour of silence would have an unknown status.
CREATE TABLE jobs.silent_channels (
    channel text PRIMARY KEY CHECK (channel IN ('sms', 'email')),
    unanswered integer NOT NULL,
    retry_at timestamptz NOT NULL
);
