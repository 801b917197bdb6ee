-- The task that a sync runs in: a redelivery of it need not wait for the lock of its killed run. NULL in locks of before.
ALTER TABLE jobs.sync_locks ADD COLUMN task text;
