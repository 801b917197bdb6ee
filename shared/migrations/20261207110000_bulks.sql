-- A bulk is an action on dead letters that were fixed when it began: it can be cut off anywhere, and continued by anyone.
ALTER TABLE jobs.operator_actions
    -- Which actions there are, `shared::db::operator_actions::Action` says: a list here would be a second one.
    DROP CONSTRAINT operator_actions_action_check,
    -- Of a bulk: dead letters per second.
    ADD COLUMN rate integer CHECK (rate > 0),
    -- Of a bulk: it also replays what was replayed before and has not died since.
    ADD COLUMN again boolean,
    ADD COLUMN cancelled_at timestamptz,
    -- Why the last run of the bulk ended early.
    ADD COLUMN problem text;

CREATE TABLE jobs.bulk_members (
    bulk uuid NOT NULL REFERENCES jobs.operator_actions ON DELETE CASCADE,
    -- Their order: the oldest first.
    number integer NOT NULL,
    dead_letter text NOT NULL,
    -- The death that is meant: the dead letter may be replayed, and die again, before this bulk comes to it.
    deaths integer NOT NULL,
    -- `replaying` while the new task is created, and if that was cut off; the outcome is written with the change itself.
    outcome text NOT NULL
        CHECK (outcome IN ('waiting', 'replaying', 'replayed', 'discarded', 'replayed_before', 'gone', 'failed')),
    -- Why it failed.
    error text,
    -- Of the outcome.
    at timestamptz NOT NULL,
    PRIMARY KEY (bulk, number)
);

CREATE INDEX bulk_members_left ON jobs.bulk_members (bulk, number) WHERE outcome IN ('waiting', 'replaying');
CREATE INDEX bulk_members_at ON jobs.bulk_members (at);
