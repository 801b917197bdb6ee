-- What a sweep created for a user, per queue of the user's task: until when no other sweep creates one there. (Tables and
-- indexes that a first product's own migration made before this one are left as they are.)
CREATE TABLE IF NOT EXISTS jobs.swept_users (
    user_id uuid NOT NULL,
    queue text NOT NULL,
    sweep_id text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (user_id, queue)
);

-- How far the search for rows of deleted users is, per table. `after` is null while none is under way.
CREATE TABLE IF NOT EXISTS jobs.erasures (
    table_name text PRIMARY KEY,
    began_at timestamptz NOT NULL,
    after uuid
);

CREATE INDEX IF NOT EXISTS dead_letters_key ON jobs.dead_letters (function, key);
CREATE INDEX IF NOT EXISTS dead_letters_updated ON jobs.dead_letters (updated_at);
CREATE INDEX IF NOT EXISTS dead_letters_user ON jobs.dead_letters (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS sweeps_age ON jobs.sweeps (started_at);
