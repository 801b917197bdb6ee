-- What a sync of contacts must remember between its pages, so that neither memory nor statements grow with the address
-- book. All of it goes when the run ends.
CREATE TABLE jobs.contacts_sync_runs (
    run uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    started_at timestamptz NOT NULL
);

CREATE INDEX contacts_sync_runs_started ON jobs.contacts_sync_runs (started_at);

-- People that a full sync has met: who is missing here at its end is gone.
CREATE TABLE jobs.contacts_sync_seen (
    run uuid NOT NULL REFERENCES jobs.contacts_sync_runs ON DELETE CASCADE,
    resource_name text NOT NULL,
    PRIMARY KEY (run, resource_name)
);

-- The user's contacts that no Google person belongs to yet, by what a person is matched with. The application has no
-- index for this, so each run looks through its contacts once instead of once a page.
CREATE TABLE jobs.contacts_sync_unlinked (
    run uuid NOT NULL REFERENCES jobs.contacts_sync_runs ON DELETE CASCADE,
    contact_id uuid NOT NULL,
    email text,
    phone text,
    PRIMARY KEY (run, contact_id)
);

CREATE INDEX contacts_sync_unlinked_email ON jobs.contacts_sync_unlinked (run, email);
CREATE INDEX contacts_sync_unlinked_phone ON jobs.contacts_sync_unlinked (run, phone);
