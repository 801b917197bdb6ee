-- Refresh tokens that Google refuses, until that is believed: were all of them refused, it would be our own doing.
CREATE TABLE jobs.refused_tokens (
    user_id uuid NOT NULL,
    integration text NOT NULL,
    -- The first answer and the last one.
    since timestamptz NOT NULL,
    refused_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, integration)
);

CREATE INDEX refused_tokens_age ON jobs.refused_tokens (refused_at);

-- When too many tokens were refused to believe it: one row, and one alert, per night.
CREATE TABLE jobs.refusal_alarms (
    night date PRIMARY KEY,
    raised_at timestamptz NOT NULL
);

CREATE INDEX refusal_alarms_age ON jobs.refusal_alarms (raised_at);
