-- The saved answer of a POST with an Idempotency-Key: the key hashed, the outcome sealed under the key given.
CREATE TABLE idempotency_keys (
    key_hash   bytea CONSTRAINT idempotency_keys_pkey PRIMARY KEY, -- of scope (actor or client, route) and key
    body_hash  bytea NOT NULL,
    outcome    bytea,                                             -- null while the first call runs
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_expires_idx ON idempotency_keys (expires_at);
