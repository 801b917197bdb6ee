-- Whether the calendar's listing has looked back for meetings: null is not yet, false is before the user's contacts came from
-- Google, when nobody could be recognised.
ALTER TABLE jobs.calendar_sync_state ADD COLUMN looked_back boolean;

-- Whether the listing that waits there looks back.
ALTER TABLE jobs.calendar_positions ADD COLUMN looks_back boolean NOT NULL DEFAULT false;
