-- Messages on their way: one delivery per message, one attempt row around each provider call.
CREATE TYPE delivery_state AS ENUM (
    'queued', 'sending', 'accepted', 'delivered', 'failed', 'expired', 'unknown');

CREATE TABLE deliveries (
    delivery_id  uuid NOT NULL, -- unguessable: whoever holds it may read the receipt
    created_at   timestamptz NOT NULL,
    kind         text NOT NULL, -- otp_code, account_exists, ...
    channel      text NOT NULL CONSTRAINT deliveries_channel_check CHECK (channel IN ('sms', 'email')),
    recipient    text NOT NULL,
    language     text NOT NULL,
    user_id      uuid,
    -- what the text is derived from when it is sent
    challenge_id uuid,
    purpose      text,
    -- false for an unknown identifier: same row, same receipt, no provider call
    sends        boolean NOT NULL,
    state        delivery_state NOT NULL,
    attempts     smallint NOT NULL DEFAULT 0,
    provider     text,
    provider_id  text,
    reason       text,
    expires_at   timestamptz NOT NULL,
    -- when a worker first took it up: the clock of receipts that must not tell known from unknown
    opened_at    timestamptz,
    accepted_at  timestamptz,
    finished_at  timestamptz,
    request_id   text,
    traceparent  text,
    CONSTRAINT deliveries_pkey PRIMARY KEY (delivery_id, created_at)
) PARTITION BY RANGE (created_at);
-- operators, a person's own messages, the development inbox: newest first. No index on a column that
-- changes, so that the steps of a delivery are heap-only updates.
CREATE INDEX deliveries_created_idx ON deliveries (created_at, delivery_id);
CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT;
SELECT ensure_partitions('deliveries', 'month', 1, now(), 50);

CREATE TABLE delivery_attempts (
    delivery_id uuid NOT NULL,
    attempt     smallint NOT NULL, -- which try of the delivery, from 1
    step        smallint NOT NULL, -- which provider in the order of failover, from 0
    provider    text NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,       -- null: the outcome is not known
    outcome     text CONSTRAINT delivery_attempts_outcome_check
                CHECK (outcome IN ('accepted', 'retry', 'give_up', 'unknown', 'misconfigured')),
    provider_id text,
    reason      text,
    CONSTRAINT delivery_attempts_pkey PRIMARY KEY (delivery_id, attempt, step, started_at)
) PARTITION BY RANGE (started_at);
CREATE TABLE delivery_attempts_default PARTITION OF delivery_attempts DEFAULT;
SELECT ensure_partitions('delivery_attempts', 'month', 1, now(), 60);
