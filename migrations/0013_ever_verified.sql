-- When somebody first proved an identifier of the account. What was set on an account is void at a first proof
-- only, and an identifier that staff change later does not make the account one that nobody has proved.
ALTER TABLE users ADD COLUMN ever_verified_at timestamptz;
UPDATE users SET ever_verified_at = least(email_verified_at, phone_verified_at)
WHERE email_verified_at IS NOT NULL OR phone_verified_at IS NOT NULL;
-- An account whose proved identifier was changed before this column was there has its audit lines.
UPDATE users u SET ever_verified_at = a.at
FROM (SELECT entity_id, min(at) AS at FROM audit
      WHERE entity_type = 'user'
        AND ((action = 'user.created' AND details->>'verified' = 'true')
             OR (action = 'verification.proved' AND details->>'outcome' = 'verified'))
      GROUP BY entity_id) a
WHERE u.ever_verified_at IS NULL AND a.entity_id = u.user_id::text;
-- Accounts that nobody came for, oldest first.
CREATE INDEX users_unused_idx ON users (created_at)
    WHERE ever_verified_at IS NULL AND last_login_at IS NULL AND status IN ('active', 'inactive');

-- Erasure finds messages to an address that belong to no account.
CREATE INDEX deliveries_recipient_idx ON deliveries (recipient) WHERE user_id IS NULL;
