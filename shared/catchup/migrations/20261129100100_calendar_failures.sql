-- Each calendar has its own failures and its own backoff. `refusals`: failures in a row that were Google's answer about this
-- calendar. `page_size`: of the listing that the sync token is from, or that is asked for next; null is the largest.
-- Without `last_sync_at` a calendar is to be read again.
ALTER TABLE jobs.calendar_sync_state
    ALTER COLUMN last_sync_at DROP NOT NULL,
    ADD COLUMN page_size integer,
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN refusals integer NOT NULL DEFAULT 0,
    ADD COLUMN retry_at timestamptz,
    ADD COLUMN failure text;

ALTER TABLE jobs.calendar_positions ADD COLUMN page_size integer NOT NULL DEFAULT 2500;

-- When the unfinished sync has read the list of calendars.
ALTER TABLE jobs.calendar_sync_runs ADD COLUMN listed_at timestamptz;

-- Calendars that Google does not list any more: what the user chose is kept for a while.
CREATE TABLE jobs.unlisted_calendars (
    user_id uuid NOT NULL,
    calendar_id text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (user_id, calendar_id)
);
