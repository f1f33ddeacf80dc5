-- Accounts: rights, credentials, sessions, factors, devices. What erasure must cover has a `user_id`.

-- Rights as data. Nobody acts above their own rank; superusers stand above all ranks.
CREATE TABLE roles (
    role        text CONSTRAINT roles_pkey PRIMARY KEY,
    rank        smallint NOT NULL,
    is_staff    boolean NOT NULL,
    permissions text[] NOT NULL,
    updated_at  timestamptz NOT NULL
);
INSERT INTO roles (role, rank, is_staff, permissions, updated_at) VALUES
    ('member', 0, false, '{}', now()),
    ('trainee', 0, false, '{}', now()),
    ('trainer', 10, false, '{}', now()),
    ('hod', 20, true, '{users.read}', now()),
    ('dp_academics', 30, true, '{users.read}', now()),
    ('admin', 40, true, '{users.read,users.write,users.status,users.delete,users.role,users.verify,sessions.read,sessions.end,factors.reset,roles.read,roles.write,api_keys.read,api_keys.write,ip_blocks.read,ip_blocks.write,audit.read,debug.read}', now());

ALTER TABLE users
    ADD COLUMN username_skeleton  text, -- UTS 39, folded: what looks alike is alike
    ADD COLUMN first_name         text,
    ADD COLUMN last_name          text,
    ADD COLUMN gender             text,
    ADD COLUMN address            text,
    ADD COLUMN national_id_sealed bytea,
    ADD COLUMN national_id_hash   bytea, -- keyed: equality without opening
    ADD COLUMN role               text NOT NULL DEFAULT 'member' CONSTRAINT users_role_fkey REFERENCES roles,
    ADD COLUMN is_superuser       boolean NOT NULL DEFAULT false,
    ADD COLUMN referral_code      text,
    ADD COLUMN referred_by        uuid,
    ADD COLUMN social_provider    text,
    ADD COLUMN status_reason      text,
    ADD COLUMN last_login_at      timestamptz,
    ADD COLUMN last_login_ip      text,
    ADD COLUMN last_login_device  text,
    ADD COLUMN last_activity_at   timestamptz,
    ADD COLUMN deleted_at         timestamptz,
    ADD COLUMN erase_at           timestamptz;
UPDATE users SET username_skeleton = lower(username);
ALTER TABLE users ALTER COLUMN username_skeleton SET NOT NULL;
CREATE UNIQUE INDEX users_skeleton_key ON users (username_skeleton) WHERE status <> 'deleted';
CREATE UNIQUE INDEX users_referral_key ON users (referral_code);
-- who holds an identifier that nobody has proved
CREATE INDEX users_unverified_email_idx ON users (email)
    WHERE email_verified_at IS NULL AND status <> 'deleted';
CREATE INDEX users_unverified_phone_idx ON users (phone_number)
    WHERE phone_verified_at IS NULL AND status <> 'deleted';
CREATE INDEX users_erase_idx ON users (erase_at) WHERE erase_at IS NOT NULL;
CREATE INDEX users_superuser_idx ON users (user_id) WHERE is_superuser;
-- the staff's list, newest first
CREATE INDEX users_created_idx ON users (created_at, user_id);

-- The key that seals what audit lines say of a person; sealed itself, gone with the person.
CREATE TABLE user_keys (
    user_id uuid CONSTRAINT user_keys_pkey PRIMARY KEY CONSTRAINT user_keys_user_fkey REFERENCES users ON DELETE CASCADE,
    sealed  bytea NOT NULL
);

-- What a person says of themselves; empty at registration.
CREATE TABLE profiles (
    user_id    uuid CONSTRAINT profiles_pkey PRIMARY KEY CONSTRAINT profiles_user_fkey REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Argon2id, PHC string form.
CREATE TABLE passwords (
    user_id    uuid CONSTRAINT passwords_pkey PRIMARY KEY CONSTRAINT passwords_user_fkey REFERENCES users ON DELETE CASCADE,
    hash       text NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Wrong passwords in a row by account, or by the keyed hash of a name that nobody has.
CREATE TABLE login_failures (
    subject_hash bytea CONSTRAINT login_failures_pkey PRIMARY KEY,
    in_a_row     integer NOT NULL,
    touched_at   timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX login_failures_touched_idx ON login_failures (touched_at);

-- A sign-in and the family of its refresh tokens. Only hashes; what changes at a refresh is in no index.
CREATE TABLE sessions (
    session_id          uuid CONSTRAINT sessions_pkey PRIMARY KEY,
    user_id             uuid NOT NULL CONSTRAINT sessions_user_fkey REFERENCES users ON DELETE CASCADE,
    generation          integer NOT NULL DEFAULT 0,
    token_hash          bytea NOT NULL,
    previous_hash       bytea,
    rotated_at          timestamptz NOT NULL, -- when the present token was made
    previous_rotated_at timestamptz,          -- when the one before it was made
    methods             text[] NOT NULL,      -- RFC 8176
    authenticated_at    timestamptz NOT NULL, -- when the person last proved who they are
    device_token_id     uuid,
    ip_address          text,
    user_agent          text,
    created_at          timestamptz NOT NULL,
    last_used_at        timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL, -- absolute
    ended_at            timestamptz,
    end_reason          text
) WITH (fillfactor = 70);
CREATE INDEX sessions_user_idx ON sessions (user_id);
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
CREATE INDEX sessions_ended_idx ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Sign-ins that wait for a second factor; the token is kept as a hash.
CREATE TABLE mfa_challenges (
    token_hash  bytea CONSTRAINT mfa_challenges_pkey PRIMARY KEY,
    user_id     uuid NOT NULL CONSTRAINT mfa_challenges_user_fkey REFERENCES users ON DELETE CASCADE,
    methods     text[] NOT NULL, -- proved so far
    tries       smallint NOT NULL DEFAULT 0,
    device_token_id uuid, -- the known device it came from
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
);
CREATE INDEX mfa_challenges_user_idx ON mfa_challenges (user_id);
CREATE INDEX mfa_challenges_expires_idx ON mfa_challenges (expires_at);

-- RFC 6238; the secret sealed.
CREATE TABLE totp_factors (
    factor_id       uuid CONSTRAINT totp_factors_pkey PRIMARY KEY,
    user_id         uuid NOT NULL CONSTRAINT totp_factors_user_fkey REFERENCES users ON DELETE CASCADE,
    sealed          bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    confirmed_at    timestamptz,
    last_step       bigint NOT NULL DEFAULT 0, -- a step is accepted once
    hour_started_at timestamptz NOT NULL,
    hour_tries      integer NOT NULL DEFAULT 0,
    last_used_at    timestamptz
);
CREATE UNIQUE INDEX totp_factors_user_key ON totp_factors (user_id);

-- Argon2id each; the number says which row a code is compared with.
CREATE TABLE recovery_codes (
    user_id    uuid NOT NULL CONSTRAINT recovery_codes_user_fkey REFERENCES users ON DELETE CASCADE,
    number     smallint NOT NULL,
    hash       text NOT NULL,
    created_at timestamptz NOT NULL,
    used_at    timestamptz,
    CONSTRAINT recovery_codes_pkey PRIMARY KEY (user_id, number)
);

-- WebAuthn credentials.
CREATE TABLE passkeys (
    passkey_id    uuid CONSTRAINT passkeys_pkey PRIMARY KEY,
    user_id       uuid NOT NULL CONSTRAINT passkeys_user_fkey REFERENCES users ON DELETE CASCADE,
    credential_id bytea NOT NULL,
    public_key    bytea NOT NULL, -- COSE
    sign_count    bigint NOT NULL,
    backed_up     boolean NOT NULL,
    transports    text[] NOT NULL,
    name          text NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz
);
CREATE UNIQUE INDEX passkeys_credential_key ON passkeys (credential_id);
CREATE INDEX passkeys_user_idx ON passkeys (user_id);
CREATE TABLE passkey_challenges (
    challenge_id uuid CONSTRAINT passkey_challenges_pkey PRIMARY KEY, -- unguessable
    challenge    bytea NOT NULL,
    purpose      text NOT NULL CONSTRAINT passkey_challenges_purpose_check
                 CHECK (purpose IN ('register', 'login', 'step_up')),
    user_id      uuid CONSTRAINT passkey_challenges_user_fkey REFERENCES users ON DELETE CASCADE,
    session_id   uuid,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz
);
CREATE INDEX passkey_challenges_user_idx ON passkey_challenges (user_id);
CREATE INDEX passkey_challenges_expires_idx ON passkey_challenges (expires_at);

-- Browsers and apps that signed in before: their own counters, so that strangers lock nobody out.
CREATE TABLE device_tokens (
    device_token_id uuid CONSTRAINT device_tokens_pkey PRIMARY KEY,
    token_hash      bytea NOT NULL,
    user_id         uuid NOT NULL CONSTRAINT device_tokens_user_fkey REFERENCES users ON DELETE CASCADE,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL
);
CREATE UNIQUE INDEX device_tokens_token_key ON device_tokens (token_hash);
CREATE INDEX device_tokens_user_idx ON device_tokens (user_id);
CREATE INDEX device_tokens_expires_idx ON device_tokens (expires_at);

-- Phones and browsers that take push messages.
CREATE TABLE devices (
    id          uuid CONSTRAINT devices_pkey PRIMARY KEY,
    user_id     uuid NOT NULL CONSTRAINT devices_user_fkey REFERENCES users ON DELETE CASCADE,
    device_id   text NOT NULL,
    fcm_token   text NOT NULL,
    device_type text NOT NULL,
    device_name text NOT NULL,
    app_version text NOT NULL,
    os_version  text NOT NULL,
    is_active   boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    last_used   timestamptz NOT NULL
);
CREATE UNIQUE INDEX devices_device_key ON devices (user_id, device_id);
CREATE UNIQUE INDEX devices_token_key ON devices (md5(fcm_token)) WHERE is_active; -- a token belongs to one user

-- Keys that sign access tokens; the private half sealed. Published before use, kept while tokens live.
CREATE TABLE signing_keys (
    key_id      text CONSTRAINT signing_keys_pkey PRIMARY KEY,
    algorithm   text NOT NULL,
    sealed      bytea NOT NULL,
    public_key  jsonb NOT NULL, -- RFC 7517
    created_at  timestamptz NOT NULL,
    active_from timestamptz NOT NULL,
    expires_at  timestamptz -- set when its successor is made: no token of it lives longer
);

-- Services. The secret is kept as a hash.
CREATE TABLE api_keys (
    api_key_id  uuid CONSTRAINT api_keys_pkey PRIMARY KEY,
    name        text NOT NULL,
    secret_hash bytea NOT NULL,
    scopes      text[] NOT NULL,
    created_by  uuid,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    last_used_at timestamptz,
    revoked_at  timestamptz
);
CREATE UNIQUE INDEX api_keys_secret_key ON api_keys (secret_hash);

-- Addresses nobody is served from.
CREATE TABLE ip_blocks (
    ip_block_id uuid CONSTRAINT ip_blocks_pkey PRIMARY KEY,
    network     cidr NOT NULL,
    reason      text NOT NULL,
    until       timestamptz, -- none: until it is lifted
    created_by  uuid,        -- none: by itself
    created_at  timestamptz NOT NULL
);
CREATE INDEX ip_blocks_until_idx ON ip_blocks (until);

-- Codes of people who are signed in are bound to the session that asked.
ALTER TABLE challenges ADD COLUMN session_id uuid;
ALTER TABLE verification_tokens ADD COLUMN session_id uuid;
-- What a notice says besides its kind: a place, a time, a role. No secret, no code, no link.
ALTER TABLE deliveries ADD COLUMN facts jsonb NOT NULL DEFAULT '{}';
CREATE INDEX deliveries_user_idx ON deliveries (user_id, created_at) WHERE user_id IS NOT NULL;
-- Changes, with what identifies a person sealed under that person's key.
ALTER TABLE audit
    ADD COLUMN session_id uuid,
    ADD COLUMN old_values jsonb,
    ADD COLUMN new_values jsonb,
    ADD COLUMN sealed     bytea;
CREATE INDEX audit_actor_idx ON audit (actor, at) WHERE actor IS NOT NULL;
