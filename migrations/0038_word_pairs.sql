-- Searches for two words at once: `wanjiru odhiambo` is as common as neither of its words. `user_words` also holds
-- the words of letters that stand side by side, and words that mix letters with digits.

-- The writers of people wait: whoever comes meanwhile would be kept by the words of before.
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

-- The words of a folded text: runs of letters, runs of digits and runs of both, of three characters and more.
CREATE OR REPLACE FUNCTION text_words(folded text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
BEGIN
    RETURN ARRAY(SELECT hit[1]
                 FROM regexp_matches(folded, '([0-9]{3,}|[^\x01-\x40\x5b-\x60\x7b-\x7f]{3,})', 'g') AS hit
                 UNION
                 SELECT hit[1]
                 FROM regexp_matches(folded, '([^\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]{3,})', 'g') AS hit
                 WHERE hit[1] ~ '[0-9]' AND hit[1] ~ '[^0-9]');
END
$$;

-- The pairs of a folded text: two runs of letters in one field with one sign between, led by a space.
CREATE FUNCTION text_pairs(folded text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
BEGIN
    RETURN ARRAY(SELECT DISTINCT ' ' || before || sign || word
                 FROM (SELECT lag(hit[2]) OVER (ORDER BY n) AS before, hit[1] AS sign, hit[2] AS word
                       FROM regexp_matches(folded,
                                '([\x01-\x40\x5b-\x60\x7b-\x7f]*)([^\x01-\x40\x5b-\x60\x7b-\x7f]+)', 'g')
                            WITH ORDINALITY AS hits(hit, n)) AS runs
                 WHERE length(sign) = 1 AND sign !~ '[0-9\n]' AND before IS NOT NULL);
END
$$;

-- Keeps somebody's words and pairs with every change of what they are found by, in its transaction. `common`: the
-- word is in `common_words`, or is found by its beginning: a pair, or how a field begins.
CREATE OR REPLACE FUNCTION keep_user_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM user_words w
        USING unnest(text_words(OLD.search_text) || text_pairs(OLD.search_text)
                     || text_beginnings(OLD.search_text)) AS old_word
        WHERE w.word = old_word AND w.status = OLD.status AND w.created_at = OLD.created_at
          AND w.user_id = OLD.user_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO user_words (word, status, created_at, user_id, common)
        SELECT new_word, NEW.status, NEW.created_at, NEW.user_id,
               EXISTS (SELECT 1 FROM common_words c WHERE c.word = new_word)
        FROM unnest(text_words(NEW.search_text)) AS new_word
        UNION ALL
        SELECT beginning, NEW.status, NEW.created_at, NEW.user_id, true
        FROM unnest(text_pairs(NEW.search_text) || text_beginnings(NEW.search_text)) AS beginning;
    END IF;
    RETURN NULL;
END
$$;

INSERT INTO user_words (word, status, created_at, user_id, common)
SELECT w, u.status, u.created_at, u.user_id, false FROM users u, unnest(text_words(u.search_text)) AS w
WHERE w ~ '[0-9]' AND w ~ '[^0-9]'
UNION ALL
SELECT p, u.status, u.created_at, u.user_id, true FROM users u, unnest(text_pairs(u.search_text)) AS p
ON CONFLICT DO NOTHING;
