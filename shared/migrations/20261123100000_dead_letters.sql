-- Tasks that ended without success, with the body as it arrived: the only copy once Cloud Tasks has deleted the task.
CREATE TABLE jobs.dead_letters (
    id text PRIMARY KEY,
    queue text NOT NULL,
    task_name text,
    idempotency_key text,
    attempt integer NOT NULL,
    state text NOT NULL CHECK (state IN ('started', 'failed')),
    reason text NOT NULL,
    error text NOT NULL,
    body bytea NOT NULL,
    user_id uuid,
    trace text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz
);

CREATE INDEX dead_letters_queue ON jobs.dead_letters (queue, created_at, id);
