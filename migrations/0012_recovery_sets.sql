-- Making a set of recovery codes hashes ten times: sets are counted by person and hour, like tries.
ALTER TABLE factor_tries DROP CONSTRAINT factor_tries_kind_check;
ALTER TABLE factor_tries ADD CONSTRAINT factor_tries_kind_check
    CHECK (kind IN ('totp', 'recovery_code', 'password', 'recovery_set'));
