-- Users whose calls Google does not answer until then, per API.
CREATE TABLE jobs.google_waits (
    user_id uuid NOT NULL,
    integration text NOT NULL,
    -- limit: a rate limit or a quota. no_account: the account does not have the service.
    reason text NOT NULL CHECK (reason IN ('limit', 'no_account')),
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    -- Answers in a row.
    times integer NOT NULL,
    PRIMARY KEY (user_id, integration)
);

CREATE INDEX google_waits_age ON jobs.google_waits (until);
