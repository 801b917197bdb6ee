-- Where a user's sync goes on that had to wait between two pages of a calendar. Taken away when the sync goes on.
CREATE TABLE jobs.calendar_positions (
    user_id uuid PRIMARY KEY,
    calendar_id text NOT NULL,
    page_token text NOT NULL,
    sync_token text,
    horizon timestamptz NOT NULL,
    began_at timestamptz NOT NULL,
    seen text[] NOT NULL
);
