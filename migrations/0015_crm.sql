-- What the CRM and analytics systems have yet to be told of people (docs/crm.md).

-- Where it goes. A row stays once it is there: who was told of somebody is told of their erasure too.
CREATE TABLE crm_targets (
    target        text CONSTRAINT crm_targets_pkey PRIMARY KEY,
    enabled       boolean NOT NULL,
    -- up to whom all people were marked when it was switched on; null: everybody is
    fill_after    uuid,
    failures      integer NOT NULL DEFAULT 0, -- in a row
    failing_since timestamptz,
    held_until    timestamptz,                -- no call before
    reason        text,
    synced_at     timestamptz                 -- when it last took something
);

-- The last change of each person that a target was not told of. The person is read when it is sent, so the
-- row holds no data of theirs; a person who is gone is to be erased there.
CREATE TABLE crm_changes (
    target       text NOT NULL CONSTRAINT crm_changes_target_fkey REFERENCES crm_targets,
    user_id      uuid NOT NULL,
    -- a new number at each change: what was sent is struck off under its number only
    change       bigint NOT NULL,
    changed_at   timestamptz NOT NULL,
    tries        smallint NOT NULL DEFAULT 0,
    due_at       timestamptz, -- not before, after a try that failed for this person alone
    set_aside_at timestamptz, -- refused for good, until the next change
    reason       text,
    CONSTRAINT crm_changes_pkey PRIMARY KEY (target, user_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
CREATE SEQUENCE crm_change_seq;
-- the next to send, oldest first
CREATE INDEX crm_changes_open_idx ON crm_changes (target, change) WHERE set_aside_at IS NULL;
-- the next retry of one person
CREATE INDEX crm_changes_due_idx ON crm_changes (target, due_at) WHERE due_at IS NOT NULL AND set_aside_at IS NULL;
CREATE INDEX crm_changes_aside_idx ON crm_changes (target, set_aside_at) WHERE set_aside_at IS NOT NULL;

-- A change of what is told marks the person, whichever verb makes it. Without a target nothing is written.
CREATE FUNCTION note_crm_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO crm_changes (target, user_id, change, changed_at)
    SELECT target, NEW.user_id, nextval('crm_change_seq'), NEW.updated_at
    FROM crm_targets WHERE enabled ORDER BY target
    ON CONFLICT (target, user_id) DO UPDATE
    SET change = excluded.change, changed_at = excluded.changed_at, tries = 0, due_at = NULL,
        set_aside_at = NULL, reason = NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER users_crm_insert AFTER INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION note_crm_change();
-- a sign-in touches none of these columns, so it does not even get here
CREATE TRIGGER users_crm_update AFTER UPDATE OF username, email, phone_number, email_verified_at, phone_verified_at,
                                                first_name, last_name, status, role, language ON users
    FOR EACH ROW WHEN (
        (OLD.username, OLD.email, OLD.phone_number, OLD.email_verified_at, OLD.phone_verified_at,
         OLD.first_name, OLD.last_name, OLD.status, OLD.role, OLD.language)
        IS DISTINCT FROM
        (NEW.username, NEW.email, NEW.phone_number, NEW.email_verified_at, NEW.phone_verified_at,
         NEW.first_name, NEW.last_name, NEW.status, NEW.role, NEW.language))
    EXECUTE FUNCTION note_crm_change();

-- At the commit of a mark: there is a job that will see it. All marks share one waiting job, and none of them
-- locks it: the lock here is shared, and a run takes it alone for a moment before it reads. So a run sees the
-- marks of all who counted on it, and whoever comes later asks for a job of their own.
CREATE FUNCTION ask_crm_sync() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- changes in a row go as one
    due timestamptz := NEW.changed_at + interval '5 seconds';
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('keryu.crm'));
    IF NOT EXISTS (SELECT 1 FROM jobs WHERE kind = 'crm.sync_users' AND waiting_key = NEW.target) THEN
        INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, max_attempts, payload,
                          unique_key, waiting_key, serial_key, run_at, created_at)
        VALUES (
            -- UUIDv7 (RFC 9562)
            (lpad(to_hex((extract(epoch FROM NEW.changed_at) * 1000)::bigint), 12, '0') || '7'
             || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid,
            'crm.sync_users', 1, 'default', 5, 'scheduled', false, 5000,
            jsonb_build_object('target', NEW.target), NEW.target, NEW.target, 'crm:' || NEW.target, due,
            NEW.changed_at)
        ON CONFLICT (kind, waiting_key) WHERE waiting_key IS NOT NULL DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER crm_changes_ask AFTER INSERT OR UPDATE OF change ON crm_changes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ask_crm_sync();
