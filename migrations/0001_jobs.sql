-- The job ledger. A job exists if and only if the transaction that asked for it committed.
--
-- `jobs` holds live rows only (and the dead letters); a finished job leaves it for `finished_jobs`.
-- What makes the ledger cheap: the steps available -> running touch no indexed column, so they are
-- heap-only updates; that is why the indexes below speak of `ready` and `pushed` and never of `state`.

CREATE TYPE job_state AS ENUM (
    'scheduled', 'available', 'running', 'retryable', 'completed', 'discarded', 'cancelled');

CREATE TABLE queues (
    queue      text CONSTRAINT queues_pkey PRIMARY KEY,
    paused_at  timestamptz,
    -- raised whenever a relay finds that Redis forgot what was pushed
    epoch      bigint NOT NULL DEFAULT 1
);
INSERT INTO queues (queue) VALUES ('critical'), ('default'), ('low'), ('media'), ('bulk');

-- One row per worker process: a running job belongs to a lease, and a lease lives while it is renewed.
CREATE TABLE worker_leases (
    lease_id   uuid CONSTRAINT worker_leases_pkey PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    started_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL
);

CREATE TABLE jobs (
    job_id       uuid CONSTRAINT jobs_pkey PRIMARY KEY,
    kind         text NOT NULL,
    version      smallint NOT NULL,
    queue        text NOT NULL CONSTRAINT jobs_queue_check CHECK (queue IN ('critical', 'default', 'low', 'media', 'bulk')),
    priority     smallint NOT NULL,
    state        job_state NOT NULL,
    -- true for available and running: the rows a relay or a reaper looks at
    ready        boolean NOT NULL,
    -- true from the push until the job leaves `ready` or is handed back
    pushed       boolean NOT NULL DEFAULT false,
    -- raised at each push; a message that names an older number claims nothing
    push         integer NOT NULL DEFAULT 0,
    pushed_at    timestamptz,
    attempt      smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    payload      jsonb NOT NULL,
    unique_key   text,
    -- unique_key while the job waits, null while it runs: a change during a run gets its own job
    waiting_key  text,
    -- never two running with one key
    serial_key   text,
    run_at       timestamptz NOT NULL,
    expires_at   timestamptz,
    created_at   timestamptz NOT NULL,
    started_at   timestamptz,
    lease_id     uuid,
    discarded_at timestamptz,
    error        text,
    request_id   text,
    traceparent  text,
    CONSTRAINT jobs_ready_check CHECK (ready = (state IN ('available', 'running')))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

-- relay: the next rows to push, by priority and age; window and reaper: what is pushed or running
CREATE INDEX jobs_ready_idx ON jobs (queue, pushed, priority, job_id) WHERE ready;
-- relay: what waited until its time was over
CREATE INDEX jobs_expires_idx ON jobs (queue, expires_at) WHERE ready AND NOT pushed AND expires_at IS NOT NULL;
-- relay: scheduled and retryable rows that came due
CREATE INDEX jobs_due_idx ON jobs (run_at) WHERE NOT ready;
-- enqueue: one waiting job per key
CREATE UNIQUE INDEX jobs_waiting_key ON jobs (kind, waiting_key) WHERE waiting_key IS NOT NULL;
-- relay: is another job with this serial key ahead
CREATE INDEX jobs_serial_idx ON jobs (serial_key, job_id) WHERE serial_key IS NOT NULL;
-- retention of dead letters
CREATE INDEX jobs_discarded_idx ON jobs (discarded_at) WHERE discarded_at IS NOT NULL;

-- The serial keys that run now. A claim takes its key here first; the finish gives it back.
CREATE TABLE serial_locks (
    serial_key text CONSTRAINT serial_locks_pkey PRIMARY KEY,
    job_id     uuid NOT NULL
);

-- Completed and cancelled jobs. Partitioned by day of finishing, so that retention drops a table.
CREATE TABLE finished_jobs (
    job_id      uuid NOT NULL,
    kind        text NOT NULL,
    version     smallint NOT NULL,
    queue       text NOT NULL,
    priority    smallint NOT NULL,
    state       job_state NOT NULL,
    attempt     smallint NOT NULL,
    payload     jsonb NOT NULL,
    unique_key  text,
    created_at  timestamptz NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL,
    error       text,
    request_id  text,
    traceparent text
) PARTITION BY RANGE (finished_at);
-- `jobs show`, and the newest first in `jobs list` (ids are time-ordered)
CREATE INDEX finished_jobs_id_idx ON finished_jobs (job_id);
-- Never empty-handed: a row whose day has no partition yet lands here.
CREATE TABLE finished_jobs_default PARTITION OF finished_jobs DEFAULT;

-- Schedules: the operator may change expression and switch; the registry inserts what is missing.
CREATE TABLE schedules (
    schedule   text CONSTRAINT schedules_pkey PRIMARY KEY,
    expression text NOT NULL,
    catch_up   text NOT NULL CONSTRAINT schedules_catch_up_check CHECK (catch_up IN ('skip', 'one', 'all')),
    enabled    boolean NOT NULL DEFAULT true,
    -- the last tick that has its row; the next one is computed from here
    ticked_at  timestamptz NOT NULL
);

-- One row per tick, inserted with its job: the unique key is what makes N schedulers fire once.
CREATE TABLE ticks (
    schedule text NOT NULL CONSTRAINT ticks_schedule_fkey REFERENCES schedules,
    at       timestamptz NOT NULL,
    job_id   uuid NOT NULL,
    CONSTRAINT ticks_pkey PRIMARY KEY (schedule, at)
);

-- Creates what is missing of a table's partitions, from the one that holds `from_at` onwards. `fill`
-- leaves room on each page where rows are updated, so that those are heap-only updates.
CREATE FUNCTION ensure_partitions(parent text, step text, ahead integer, from_at timestamptz, fill integer)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    low  timestamptz := date_trunc(step, from_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    high timestamptz;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('keryu.partitions'));
    FOR i IN 0..ahead LOOP
        high := ((low AT TIME ZONE 'UTC') + ('1 ' || step)::interval) AT TIME ZONE 'UTC';
        name := parent || '_' || to_char(low AT TIME ZONE 'UTC', CASE step WHEN 'day' THEN 'YYYYMMDD' ELSE 'YYYYMM' END);
        IF to_regclass(quote_ident(name)) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = %s)',
                               name, parent, low, high, fill);
            EXCEPTION WHEN check_violation THEN
                -- nobody made it in time and the default partition has its rows: they stay there
                RAISE NOTICE 'no partition %: its rows are in the default one', name;
            END;
        END IF;
        low := high;
    END LOOP;
END $$;
SELECT ensure_partitions('finished_jobs', 'day', 7, now(), 100);

-- Drops the partitions whose whole range lies before the moment.
CREATE FUNCTION drop_partitions(parent text, before timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT c.relname, (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz AS high
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass(quote_ident(parent))
    LOOP
        IF part.high IS NOT NULL AND part.high <= before THEN
            EXECUTE format('DROP TABLE %I', part.relname);
        END IF;
    END LOOP;
END $$;
