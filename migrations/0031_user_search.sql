-- The staff's list and search. `user_words` holds the words of everybody's name, address and number, so that a
-- search is a walk through an index in the order of the list, however common the word. It needs no extension and
-- no locale: case and accents are folded here, the same for what is kept and for what is looked for.

-- Small letters without accents.
CREATE FUNCTION fold_text(given text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
    SELECT lower(CASE WHEN given ~ '^[\x01-\x7f]*$' THEN given ELSE
        translate(
            regexp_replace(replace(normalize(given, NFKD), 'ß', 'ss'), '[\u0300-\u036f]', '', 'g'),
            'ıİØøŁłĐđАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЄІҐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩς',
            'iioollddабвгдежзиклмнопрстуфхцчшщъыьэюяєіґαβγδεζηθικλμνξοπρστυφχψωσ')
        END COLLATE "C")
$$;

-- Everything somebody is found by, folded: each field begins with a line feed, numbers have no plus.
CREATE FUNCTION user_text(username text, first_name text, last_name text, email text, phone_number text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT fold_text(concat(E'\n' || username, E'\n' || first_name || ' ' || last_name,
                            E'\n' || coalesce(last_name, first_name), E'\n' || email,
                            E'\n' || ltrim(phone_number, '+')))
$$;

-- The words of a folded text: runs of letters and runs of digits, of three characters and more.
CREATE FUNCTION text_words(folded text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
BEGIN
    RETURN ARRAY(SELECT DISTINCT hit[1]
                 FROM regexp_matches(folded, '([0-9]{3,}|[^\x01-\x40\x5b-\x60\x7b-\x7f]{3,})', 'g') AS hit);
END
$$;

-- How the fields of a folded text begin, by one character and by two.
CREATE FUNCTION text_beginnings(folded text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
BEGIN
    RETURN ARRAY(SELECT DISTINCT '^' || left(field, n)
                 FROM string_to_table(ltrim(folded, E'\n'), E'\n') AS field, generate_series(1, 2) AS n
                 WHERE length(field) >= n);
END
$$;

-- Any three characters in a row of a word. Not for parallel plans: a search is over before their workers start.
CREATE FUNCTION word_grams(word text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN ARRAY(SELECT substr(word, n, 3) FROM generate_series(1, length(word) - 2) AS n);
END
$$;

ALTER TABLE users ADD COLUMN search_text text
    GENERATED ALWAYS AS (user_text(username, first_name, last_name, email, phone_number)) STORED;

-- Words that many people have, with how many at the last count; once here a word stays. Nobody's own.
CREATE TABLE common_words (
    word   text COLLATE "C" CONSTRAINT common_words_pkey PRIMARY KEY,
    people bigint NOT NULL
);

-- Somebody under one word. `common`: the word is in `common_words`, or is how a field begins.
CREATE TABLE user_words (
    word       text COLLATE "C" NOT NULL,
    status     user_status NOT NULL,
    created_at timestamptz NOT NULL,
    user_id    uuid NOT NULL,
    common     boolean NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05);

-- Keeps somebody's words with every change of what they are found by, in its transaction.
CREATE FUNCTION keep_user_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM user_words w
        USING unnest(text_words(OLD.search_text) || text_beginnings(OLD.search_text)) AS old_word
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
        FROM unnest(text_beginnings(NEW.search_text)) AS beginning;
    END IF;
    RETURN NULL;
END
$$;

INSERT INTO user_words (word, status, created_at, user_id, common)
SELECT w, status, created_at, user_id, false FROM users, unnest(text_words(search_text)) AS w
UNION ALL
SELECT b, status, created_at, user_id, true FROM users, unnest(text_beginnings(search_text)) AS b;

CREATE TRIGGER users_words_kept AFTER INSERT OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION keep_user_words();
CREATE TRIGGER users_words_changed AFTER UPDATE ON users
    FOR EACH ROW WHEN (OLD.search_text IS DISTINCT FROM NEW.search_text OR OLD.status <> NEW.status
                       OR OLD.created_at <> NEW.created_at)
    EXECUTE FUNCTION keep_user_words();

-- the people of a word in the order of the list: pages and totals of common words
CREATE UNIQUE INDEX user_words_list_idx ON user_words (word, status, created_at, user_id);
-- the words that hold a text, but for common ones
CREATE INDEX user_words_part_idx ON user_words USING gin (word_grams(word)) WITH (fastupdate = off) WHERE NOT common;
