-- Instead of jobs.silent_channels, which the revision before uses.
--
-- Channels whose provider does not answer: how often in a row, and when one message may try again. Without it, every message of an
-- hour in which no answer comes would have an unknown status.
CREATE TABLE jobs.provider_circuit_breakers (
    channel text PRIMARY KEY CHECK (channel IN ('sms', 'email')),
    failure_count integer NOT NULL,
    next_retry_at timestamptz NOT NULL
);
