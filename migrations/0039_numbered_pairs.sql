-- Searches for names and the digits after them: `akinyi.odhiambo.12` is narrowed down by each pair of words that
-- stand side by side, and the number at the end of a name is what the fewest people have.

-- Whoever writes people is waited for, so that none who comes later is kept by the pairs of before.
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

-- The pairs of a folded text: a run of letters and a run of letters or digits, in one field and with one sign
-- between, led by a space.
CREATE OR REPLACE FUNCTION text_pairs(folded text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
BEGIN
    RETURN ARRAY(SELECT DISTINCT ' ' || before || sign || word
                 FROM (SELECT lag(hit[2]) OVER (ORDER BY n) AS before, hit[1] AS sign, hit[2] AS word
                       FROM regexp_matches(folded,
                                '([\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]*)([0-9]+|[^\x01-\x40\x5b-\x60\x7b-\x7f]+)', 'g')
                            WITH ORDINALITY AS hits(hit, n)) AS runs
                 WHERE length(sign) = 1 AND sign <> E'\n' AND before !~ '[0-9]');
END
$$;
