-- Accounts that nobody uses. Neither column is in an index: the daily pass goes by the primary key.
ALTER TABLE users
    ADD COLUMN inactivity_warned_at timestamptz, -- counts while it is later than the last activity
    ADD COLUMN lapsed_at            timestamptz; -- set inactive for want of activity; null again at any other change

-- What people were reminded of. The key is what keeps a reminder from going out twice.
CREATE TABLE reminders (
    user_id uuid NOT NULL CONSTRAINT reminders_user_fkey REFERENCES users ON DELETE CASCADE,
    kind    text NOT NULL,
    step    smallint NOT NULL, -- the first, the second, the third
    at      timestamptz NOT NULL,
    CONSTRAINT reminders_pkey PRIMARY KEY (user_id, kind, step)
);

-- What staff do to many people at once.
CREATE TABLE bulk_actions (
    bulk_action_id uuid CONSTRAINT bulk_actions_pkey PRIMARY KEY,
    action         text NOT NULL,
    reason         text NOT NULL,
    role           text,          -- to assign
    subject        text,          -- to send
    message        text,
    filter         jsonb,         -- null: by ids, which are there as items from the beginning
    created_by     uuid NOT NULL,
    session_id     uuid NOT NULL, -- whose rights count, as they are at each step
    ip_address     text,
    user_agent     text,
    request_id     text,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    selected_at    timestamptz,   -- every item is there
    finished_at    timestamptz
);
CREATE INDEX bulk_actions_created_idx ON bulk_actions (created_at);
CREATE INDEX bulk_actions_created_by_idx ON bulk_actions (created_by);

CREATE TABLE bulk_items (
    bulk_action_id uuid NOT NULL CONSTRAINT bulk_items_action_fkey REFERENCES bulk_actions ON DELETE CASCADE,
    user_id        uuid NOT NULL,
    outcome        text CONSTRAINT bulk_items_outcome_check CHECK (outcome IN ('done', 'failed', 'skipped')),
    code           text, -- of the refusal
    CONSTRAINT bulk_items_pkey PRIMARY KEY (bulk_action_id, user_id)
);
-- what is left to do, also after a crash
CREATE INDEX bulk_items_open_idx ON bulk_items (bulk_action_id, user_id) WHERE outcome IS NULL;
-- what staff look at
CREATE INDEX bulk_items_failed_idx ON bulk_items (bulk_action_id, user_id) WHERE outcome IN ('failed', 'skipped');

-- Reports that people asked for about their own use.
CREATE TABLE reports (
    report_id   uuid CONSTRAINT reports_pkey PRIMARY KEY,
    user_id     uuid NOT NULL CONSTRAINT reports_user_fkey REFERENCES users ON DELETE CASCADE,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL, -- of the job while it waits, of the content then
    finished_at timestamptz,
    json        bytea,
    html        bytea
);
CREATE INDEX reports_user_idx ON reports (user_id, created_at);
CREATE INDEX reports_expires_idx ON reports (expires_at);
-- one waits per person
CREATE UNIQUE INDEX reports_waiting_key ON reports (user_id) WHERE finished_at IS NULL;

UPDATE roles SET permissions = array_append(permissions, 'users.message') WHERE role = 'admin';
