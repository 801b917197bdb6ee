-- The next meeting with each contact that the user's calendars show.
CREATE TABLE jobs.next_meetings (
    user_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    starts_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, contact_id)
);
