-- no-transaction
-- The pairs of 0039 for those who were there before, some people at a time: only who is written just then waits.
-- Begun again, it does no harm.
DO $$
DECLARE
    place uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
    LOOP
        -- nobody waits behind a lock of these rows
        PERFORM set_config('lock_timeout', '0', true);
        WITH these AS MATERIALIZED (
            SELECT user_id, status, created_at, search_text FROM users
            WHERE user_id > place ORDER BY user_id LIMIT 500 FOR SHARE
        ), kept AS (
            INSERT INTO user_words (word, status, created_at, user_id, common)
            SELECT pair, status, created_at, user_id, true FROM these, unnest(text_pairs(search_text)) AS pair
            WHERE pair ~ '[0-9]'
            ON CONFLICT DO NOTHING
        )
        SELECT user_id INTO place FROM these ORDER BY user_id DESC LIMIT 1;
        EXIT WHEN place IS NULL;
        COMMIT;
    END LOOP;
END
$$;
