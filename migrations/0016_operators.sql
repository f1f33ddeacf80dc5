-- What operators see and do.

-- jobs list and bulk retry: dead letters, newest first. `discarded_at` does not change on the way from
-- available to running, so that these stay heap-only updates.
CREATE INDEX jobs_dead_idx ON jobs (job_id) WHERE discarded_at IS NOT NULL;

-- What a schedule asks for, as the worker's registry has it, so that others can ask for it by hand.
ALTER TABLE schedules
    ADD COLUMN default_expression text,
    ADD COLUMN kind               text,
    ADD COLUMN version            smallint,
    ADD COLUMN queue              text,
    ADD COLUMN priority           smallint,
    ADD COLUMN max_attempts       smallint,
    ADD COLUMN payload            jsonb;

-- Which queues a worker works: what tells a queue that nobody works.
ALTER TABLE worker_leases ADD COLUMN queues text[] NOT NULL DEFAULT '{}';

-- How often a provider may be called, over all workers; it wins over the setting.
CREATE TABLE provider_rates (
    provider   text CONSTRAINT provider_rates_pkey PRIMARY KEY,
    per_second double precision NOT NULL CONSTRAINT provider_rates_per_second_check CHECK (per_second > 0),
    updated_at timestamptz NOT NULL
);
-- Whose turn is when: one row for each provider with a rate, locked for each batch of calls.
CREATE TABLE provider_turns (
    provider text CONSTRAINT provider_turns_pkey PRIMARY KEY,
    -- the next call may be made then
    next_at  timestamptz NOT NULL,
    -- who is sent away comes back then
    back_at  timestamptz NOT NULL
) WITH (fillfactor = 50);

UPDATE roles SET permissions = permissions || '{jobs.read,jobs.write,deliveries.read,deliveries.write}'
WHERE role = 'admin';
