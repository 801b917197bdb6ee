-- One row per run that ended badly, or that may have: the attempts of a task are its rows here. Written by the run itself,
-- or, as `killed`, by the delivery that takes over its expired lease.
CREATE TABLE jobs.failures (
    function text NOT NULL,
    key text NOT NULL,
    -- 0 is the task as it was created, n the task as it was replayed for the n-th time.
    life integer NOT NULL,
    run uuid NOT NULL,
    -- `started`, `ended` and `done` count for nothing; `done` also says that nothing is left to do.
    kind text NOT NULL CHECK (kind IN ('started', 'failed', 'permanent', 'killed', 'ended', 'done')),
    reason text NOT NULL,
    error text NOT NULL,
    -- The same for failures that look the same.
    fingerprint text NOT NULL,
    revision text NOT NULL,
    instance text NOT NULL,
    -- No other job ran in the same process.
    alone boolean NOT NULL,
    user_id uuid,
    began_at timestamptz NOT NULL,
    -- When the run failed, or, of a killed one, when its lease expired.
    at timestamptz NOT NULL,
    PRIMARY KEY (function, key, life, run)
);

CREATE INDEX failures_at ON jobs.failures (at);
CREATE INDEX failures_user ON jobs.failures (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX failures_killed_together ON jobs.failures (instance) WHERE kind = 'killed';

-- A dead letter is `open`, `replaying` or `sent`, and counts its deaths.
DELETE FROM jobs.dead_letters WHERE state = 'started';
ALTER TABLE jobs.dead_letters DROP CONSTRAINT dead_letters_state_check;
ALTER TABLE jobs.dead_letters RENAME COLUMN queue TO function;
ALTER TABLE jobs.dead_letters RENAME COLUMN idempotency_key TO key;
UPDATE jobs.dead_letters SET state = CASE WHEN replayed_at IS NULL THEN 'open' ELSE 'sent' END, key = COALESCE(key, 'task:' || COALESCE(task_name, id));
ALTER TABLE jobs.dead_letters
    ADD CONSTRAINT dead_letters_state_check CHECK (state IN ('open', 'replaying', 'sent')),
    ADD COLUMN deaths integer NOT NULL DEFAULT 1,
    ADD COLUMN fingerprint text NOT NULL DEFAULT '',
    ALTER COLUMN key SET NOT NULL,
    DROP COLUMN attempt,
    DROP COLUMN replayed_at;
ALTER TABLE jobs.dead_letters ALTER COLUMN deaths DROP DEFAULT, ALTER COLUMN fingerprint DROP DEFAULT;

DROP INDEX jobs.dead_letters_queue;
CREATE INDEX dead_letters_open ON jobs.dead_letters (function, created_at, id) WHERE state <> 'sent';
