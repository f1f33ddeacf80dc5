-- Staff look people up by the beginning of a name, an address or a number.
CREATE INDEX users_username_prefix_idx ON users (lower(username) text_pattern_ops);
CREATE INDEX users_email_prefix_idx ON users (email text_pattern_ops) WHERE email IS NOT NULL;
CREATE INDEX users_phone_prefix_idx ON users (phone_number text_pattern_ops) WHERE phone_number IS NOT NULL;
-- The list of one status, newest first.
CREATE INDEX users_status_idx ON users (status, created_at, user_id);
-- Erasure finds what names a person, and whom they invited.
CREATE INDEX users_referred_by_idx ON users (referred_by) WHERE referred_by IS NOT NULL;
CREATE INDEX challenges_user_idx ON challenges (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX verification_tokens_user_idx ON verification_tokens (user_id) WHERE user_id IS NOT NULL;
