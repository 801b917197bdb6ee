-- Where a user's sync of contacts continues: the token for the next one, and the run that is under way. A user has one
-- run at most: one that begins takes the place of the one before, of which no late part counts any more.
CREATE TABLE jobs.contacts_sync_state (
    user_id uuid PRIMARY KEY,
    sync_token text,
    -- Google forgets a token after seven days, ...
    given_at timestamptz,
    -- ... and takes it only with the parameters of the request that it was given for.
    parameters text,
    -- When a full sync missed so many contacts that a second one has to confirm it.
    doubted_at timestamptz,
    run uuid,
    run_started_at timestamptz,
    -- Pages that the run has written, and how its listing continues: by the one token or, after the last page, the other.
    pages integer,
    page_token text,
    next_sync_token text
);

-- One row per page of a full sync: whom it listed and whom it inserted. Who is missing here at the end is gone.
CREATE TABLE jobs.contacts_sync_pages (
    user_id uuid NOT NULL,
    run uuid NOT NULL,
    page integer NOT NULL,
    seen text[] NOT NULL,
    inserted uuid[] NOT NULL,
    PRIMARY KEY (user_id, run, page)
);

-- Contacts that a person may be matched with, by what they are matched with. The application has no index for this, so a
-- part of a sync looks through its user's contacts once instead of once per page.
CREATE TABLE jobs.contacts_sync_candidates (
    user_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    email text,
    phone text,
    -- The person of a contact that a full sync did not list: it is a candidate for as long as it has this one.
    resource_name text,
    PRIMARY KEY (user_id, contact_id)
);

CREATE INDEX contacts_sync_candidates_email ON jobs.contacts_sync_candidates (user_id, email);
CREATE INDEX contacts_sync_candidates_phone ON jobs.contacts_sync_candidates (user_id, phone);

-- The revision before this one still reads jobs.contacts_sync_runs, contacts_sync_seen and contacts_sync_unlinked, so they
-- stay until no revision does that one might go back to.
