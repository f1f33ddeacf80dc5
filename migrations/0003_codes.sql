-- One-time codes. The code itself is stored nowhere: it is derived from the nonce here and a key that is not.
CREATE TABLE challenges (
    challenge_id uuid CONSTRAINT challenges_pkey PRIMARY KEY, -- unguessable: holding it is a right
    purpose      text NOT NULL,
    channel      text NOT NULL CONSTRAINT challenges_channel_check CHECK (channel IN ('sms', 'email')),
    identifier   text NOT NULL,
    -- who had proved the identifier when the code was asked for; no foreign key: its check would make
    -- a known identifier slower than an unknown one
    user_id      uuid,
    key_id       text NOT NULL,
    nonce        bytea NOT NULL,
    digits       smallint NOT NULL,
    client       text NOT NULL, -- rate-limit key of the address that asked
    tries        smallint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz
);
-- verify without a challenge_id: the open challenges of one identifier asked for from one client
CREATE INDEX challenges_identifier_idx ON challenges (identifier, purpose, client);
-- cleanup_expired
CREATE INDEX challenges_expires_idx ON challenges (expires_at);

-- Send budget and wrong tries of one identifier (keyed hash), known or not. Locked by each decision.
CREATE TABLE identifier_budgets (
    identifier_hash bytea CONSTRAINT identifier_budgets_pkey PRIMARY KEY,
    last_sent_at    timestamptz,
    hour_started_at timestamptz NOT NULL,
    hour_sent       integer NOT NULL DEFAULT 0,
    day_started_at  timestamptz NOT NULL,
    day_sent        integer NOT NULL DEFAULT 0,
    wrong_in_row    integer NOT NULL DEFAULT 0,
    touched_at      timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX identifier_budgets_touched_idx ON identifier_budgets (day_started_at);

-- Wrong tries of one identifier from one client address, by the hour.
CREATE TABLE wrong_tries (
    identifier_hash bytea NOT NULL,
    client          text NOT NULL,
    hour_started_at timestamptz NOT NULL,
    tries           integer NOT NULL DEFAULT 0,
    CONSTRAINT wrong_tries_pkey PRIMARY KEY (identifier_hash, client)
);
CREATE INDEX wrong_tries_hour_idx ON wrong_tries (hour_started_at);

-- SMS sent today, by prefix; sharded so that no row is hot.
CREATE TABLE sms_budgets (
    day    date NOT NULL,
    prefix text NOT NULL, -- country code and two digits, or '*' for all
    shard  smallint NOT NULL,
    sent   integer NOT NULL DEFAULT 0,
    CONSTRAINT sms_budgets_pkey PRIMARY KEY (day, prefix, shard)
);

-- Proof that an identifier is its holder's; single use, ten minutes. The token is kept as a hash.
CREATE TABLE verification_tokens (
    token_hash bytea CONSTRAINT verification_tokens_pkey PRIMARY KEY,
    purpose    text NOT NULL,
    identifier text NOT NULL,
    user_id    uuid,
    challenge_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX verification_tokens_expires_idx ON verification_tokens (expires_at);
