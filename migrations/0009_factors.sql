-- Tries at what a person types to prove who they are, by person and kind, counted before it is compared. They outlive a
-- factor that is enrolled anew.
CREATE TABLE factor_tries (
    user_id         uuid NOT NULL CONSTRAINT factor_tries_user_fkey REFERENCES users ON DELETE CASCADE,
    kind            text NOT NULL CONSTRAINT factor_tries_kind_check CHECK (kind IN ('totp', 'recovery_code', 'password')),
    hour_started_at timestamptz NOT NULL,
    tries           integer NOT NULL,
    CONSTRAINT factor_tries_pkey PRIMARY KEY (user_id, kind)
) WITH (fillfactor = 70);
ALTER TABLE totp_factors
    DROP COLUMN hour_started_at,
    DROP COLUMN hour_tries;

-- A sign-in that waits for a second factor hands its device token in again.
ALTER TABLE mfa_challenges DROP COLUMN device_token_id;

-- Whether a credential may be copied to other devices is settled when it is made (WebAuthn Level 3, 6.1.3).
ALTER TABLE passkeys ADD COLUMN backup_eligible boolean NOT NULL;
