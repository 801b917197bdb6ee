-- Push channels that Google may hold for us. A channel is written down before Google is asked to open it, so that none is
-- forgotten when the answer never comes, and until Google was asked to stop it.
CREATE TABLE jobs.push_channels (
    channel_id text PRIMARY KEY,
    user_id uuid NOT NULL,
    -- announced: about to be opened. open: the user's; the application's table has it, too. stray: replaced, or never
    -- taken into use; to be stopped.
    state text NOT NULL CHECK (state IN ('announced', 'open', 'stray')),
    -- Known once Google has answered; the same for all channels on one calendar.
    resource_id text CHECK (resource_id IS NOT NULL OR state = 'announced'),
    -- Key of the task that opened it, and when that began; null: the application did.
    opened_by text,
    announced_at timestamptz,
    -- When Google forgets it by itself.
    ends_at timestamptz NOT NULL
);

CREATE INDEX push_channels_user ON jobs.push_channels (user_id);
CREATE INDEX push_channels_end ON jobs.push_channels (ends_at);
