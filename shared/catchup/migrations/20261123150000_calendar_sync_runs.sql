-- What a user's sync of calendars came to so far, until it ends: it may wait, be stopped or die in between. `announced`:
-- how many of the changes the rest of the system was told of.
CREATE TABLE jobs.calendar_sync_runs (
    user_id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL,
    changed bigint NOT NULL DEFAULT 0,
    announced bigint NOT NULL DEFAULT 0,
    items bigint NOT NULL DEFAULT 0,
    api_calls bigint NOT NULL DEFAULT 0,
    is_full boolean NOT NULL DEFAULT false
);

-- A calendar that cannot be read is done for its occasion, too.
ALTER TABLE jobs.calendar_sync_state
    ALTER COLUMN sync_token DROP NOT NULL,
    ALTER COLUMN horizon DROP NOT NULL,
    ALTER COLUMN last_full_sync_at DROP NOT NULL;
