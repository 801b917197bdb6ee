-- One row per run that ended badly.
CREATE TABLE jobs.failures (
    function text NOT NULL,
    key text NOT NULL,
    life integer NOT NULL,
    run uuid NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    error text,
    fingerprint text,
    revision text,
    instance text,
    alone boolean,
    user_id uuid,
    began_at timestamptz,
    at timestamptz NOT NULL,
    PRIMARY KEY (function, key, life, run)
);

CREATE INDEX failures_at ON jobs.failures (at);
CREATE INDEX failures_user ON jobs.failures (user_id) WHERE user_id IS NOT NULL;

ALTER TABLE jobs.dead_letters
    ADD COLUMN function text GENERATED ALWAYS AS (queue) STORED,
    ADD COLUMN key text GENERATED ALWAYS AS (idempotency_key) STORED;
