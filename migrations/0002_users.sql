-- People: identifiers and status. Profile, credentials and the rest come with their slices.
CREATE TYPE user_status AS ENUM ('active', 'inactive', 'suspended', 'banned', 'deleted');

CREATE TABLE users (
    user_id           uuid CONSTRAINT users_pkey PRIMARY KEY,
    username          text NOT NULL,
    email             text,
    phone_number      text,
    status            user_status NOT NULL DEFAULT 'active',
    language          text NOT NULL DEFAULT 'en',
    email_verified_at timestamptz,
    phone_verified_at timestamptz,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CONSTRAINT users_identifier_check CHECK (email IS NOT NULL OR phone_number IS NOT NULL)
);
CREATE UNIQUE INDEX users_username_key ON users (lower(username)) WHERE status <> 'deleted';
-- unique among verified identifiers of users not deleted; a code request looks its owner up here
CREATE UNIQUE INDEX users_verified_email_key ON users (email)
    WHERE email_verified_at IS NOT NULL AND status <> 'deleted';
CREATE UNIQUE INDEX users_verified_phone_key ON users (phone_number)
    WHERE phone_verified_at IS NOT NULL AND status <> 'deleted';

-- Who did what. Monthly partitions; values that identify a person before sign-in are keyed hashes.
CREATE TABLE audit (
    audit_id      uuid NOT NULL,
    at            timestamptz NOT NULL,
    action        text NOT NULL,
    entity_type   text NOT NULL,
    entity_id     text NOT NULL,
    actor         uuid,
    details       jsonb NOT NULL DEFAULT '{}',
    ip_address    text,
    user_agent    text,
    request_id    text
) PARTITION BY RANGE (at);
CREATE TABLE audit_default PARTITION OF audit DEFAULT;
SELECT ensure_partitions('audit', 'month', 1, now(), 100);
-- what happened to one entity, newest first
CREATE INDEX audit_entity_idx ON audit (entity_type, entity_id, at);
