-- What operators do: a row is written before anything is changed, so one without `ended_at` was cut off.
CREATE TABLE jobs.operator_actions (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    -- The user of the database session, which the operator cannot choose.
    who text NOT NULL,
    -- Where it was asked for: the command line or the console.
    via text NOT NULL CHECK (via IN ('command line', 'console')),
    action text NOT NULL CHECK (action IN ('pause', 'resume', 'replay', 'discard', 'release')),
    -- The function, if it is about one.
    function text,
    -- The user, if it is about one.
    user_id uuid,
    -- What it was asked to act on, as it can be asked for again.
    filter jsonb NOT NULL,
    -- On how many it acts.
    count bigint NOT NULL,
    why text NOT NULL,
    ended_at timestamptz,
    -- How many it has changed.
    changed bigint
);

CREATE INDEX operator_actions_at ON jobs.operator_actions (at);
CREATE INDEX operator_actions_held ON jobs.operator_actions (function, at) WHERE action IN ('pause', 'resume');
CREATE INDEX operator_actions_user ON jobs.operator_actions (user_id) WHERE user_id IS NOT NULL;
