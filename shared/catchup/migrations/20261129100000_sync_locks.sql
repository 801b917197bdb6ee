-- Which sync of a user's integration is under way: there is one at a time. A row that nobody removed has expired at
-- `held_until`. `continues`: no run holds it, and only the sync's own next part takes it.
CREATE TABLE jobs.sync_locks (
    user_id uuid NOT NULL,
    integration text NOT NULL,
    run uuid NOT NULL,
    continues boolean NOT NULL DEFAULT false,
    since timestamptz NOT NULL,
    held_until timestamptz NOT NULL,
    PRIMARY KEY (user_id, integration)
);
