-- What became of a sweep and of the tasks that it created.
CREATE TABLE jobs.sweeps (
    queue text NOT NULL,
    sweep_id text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    tasks bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    high_failure_rate boolean NOT NULL DEFAULT false,
    PRIMARY KEY (queue, sweep_id)
);

CREATE INDEX sweeps_started ON jobs.sweeps (queue, started_at);
