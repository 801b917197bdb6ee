-- Whether a calendar's last failure was a refusal: no task of its own tries it again.
ALTER TABLE jobs.calendar_sync_state ADD COLUMN is_refused boolean NOT NULL DEFAULT false;

-- When a calendar was listed in full for the first time: where what is stored of it begins.
ALTER TABLE jobs.calendar_sync_state ADD COLUMN first_full_sync_at timestamptz;
UPDATE jobs.calendar_sync_state SET first_full_sync_at = last_full_sync_at;
