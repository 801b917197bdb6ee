-- Which of the user's tokens (encrypted, so this is no secret) the wait was recorded for: what is said of an account does not
-- hold for another one.
ALTER TABLE jobs.google_waits ADD COLUMN refresh_token_md5 text;
