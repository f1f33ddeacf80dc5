-- The staff's list by what it can be narrowed to and ordered by. Searches no longer read these three.
DROP INDEX users_username_prefix_idx;
DROP INDEX users_email_prefix_idx;
DROP INDEX users_phone_prefix_idx;
-- people of a role
CREATE INDEX users_role_idx ON users (role, status, created_at, user_id);
-- who has not proved an address or a number
CREATE INDEX users_email_open_idx ON users (status, created_at, user_id) WHERE email_verified_at IS NULL;
CREATE INDEX users_phone_open_idx ON users (status, created_at, user_id) WHERE phone_verified_at IS NULL;
-- by name
CREATE INDEX users_name_idx ON users (lower(username) COLLATE "C", user_id);
-- by the last sign-in, those who never signed in behind the others
CREATE INDEX users_login_idx ON users (last_login_at DESC NULLS LAST, user_id DESC) INCLUDE (status);

-- Exports of people: in which form, how far, and the file, as long as it is kept.
ALTER TABLE bulk_actions
    ADD COLUMN format       text CONSTRAINT bulk_actions_format_check CHECK (format IN ('csv', 'jsonl')),
    ADD COLUMN exported     bigint NOT NULL DEFAULT 0,
    ADD COLUMN upload_id    uuid,
    ADD COLUMN result_until timestamptz;
