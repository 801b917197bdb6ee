-- Where the sync of a calendar goes on. `horizon`: what the last full sync asked for ended there.
-- No foreign key to a table of the application: it would add triggers to it.
CREATE TABLE jobs.calendar_sync_state (
    user_id uuid NOT NULL,
    calendar_id text NOT NULL,
    sync_token text NOT NULL,
    horizon timestamptz NOT NULL,
    last_full_sync_at timestamptz NOT NULL,
    last_sync_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, calendar_id)
);
