-- What operators say of errors: failed runs and dead letters that look the same. Who said it is in jobs.operator_actions.
CREATE TABLE jobs.error_states (
    function text NOT NULL,
    fingerprint text NOT NULL,
    state text NOT NULL CHECK (state IN ('fixed', 'ignored')),
    -- Of a fixed one: the first revision that has the fix; without it, the cause was outside the function.
    revision text,
    -- Of an ignored one: it is shown again after so many more failed runs.
    until_count integer CHECK (until_count > 0),
    at timestamptz NOT NULL,
    PRIMARY KEY (function, fingerprint),
    CHECK ((state = 'ignored') = (until_count IS NOT NULL)),
    CHECK (state = 'fixed' OR revision IS NULL)
);

CREATE INDEX error_states_at ON jobs.error_states (at);
