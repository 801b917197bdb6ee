-- What operators list is found by an index, however much has failed: errors by how they look, each from its newest run on.
CREATE INDEX failures_groups ON jobs.failures (function, fingerprint, at)
    WHERE kind IN ('failed', 'permanent', 'killed', 'started');
CREATE INDEX dead_letters_groups ON jobs.dead_letters (function, fingerprint, updated_at) WHERE state <> 'sent';
CREATE INDEX dead_letters_oldest ON jobs.dead_letters (created_at, id) WHERE state <> 'sent';
