-- Tables of the application's later migrations, which may be there or not: only for the tests, and for checking queries.

CREATE TABLE suggestion_exclusions (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    created_at timestamptz DEFAULT now(),
    UNIQUE (user_id, contact_id)
);

CREATE TABLE suggestion_pauses (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,
    pause_start timestamptz NOT NULL,
    pause_end timestamptz NOT NULL
);

CREATE TABLE suggestion_feedback (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    suggestion_id uuid NOT NULL REFERENCES suggestions ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    preset varchar(50) NOT NULL
        CHECK (preset IN ('already_in_touch', 'not_relevant', 'timing_off', 'dont_suggest_contact', 'other')),
    comment text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE in_app_notifications (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    event_type varchar(50) NOT NULL,
    title varchar(255) NOT NULL,
    description text,
    action_url varchar(500),
    read boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
