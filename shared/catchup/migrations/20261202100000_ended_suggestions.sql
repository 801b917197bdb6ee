-- Suggestions that we dismissed: those that are dismissed without a row here, the user dismissed.
CREATE TABLE jobs.ended_suggestions (
    user_id uuid NOT NULL,
    suggestion_id uuid NOT NULL,
    reason text NOT NULL CHECK (reason IN ('expired', 'conflict', 'unwanted')),
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, suggestion_id)
);

CREATE INDEX ended_suggestions_age ON jobs.ended_suggestions (ended_at);

-- When a user acted last on a suggestion: what was snoozed and is pending again does not tell any more.
CREATE TABLE jobs.last_acts (
    user_id uuid PRIMARY KEY,
    acted_at timestamptz NOT NULL
);
