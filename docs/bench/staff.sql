-- People for docs/bench/staff.sh, by n; one in twenty is called Wanjiru. Everything else as the product has it:
-- triggers keep their words, `count_words` of the product is done by the same statements at the end.
SET synchronous_commit = off;
INSERT INTO users (user_id, username, username_skeleton, email, phone_number, email_verified_at, phone_verified_at,
                   ever_verified_at, role, referral_code, first_name, last_name, status, created_at, updated_at,
                   last_login_at)
SELECT gen_random_uuid(), name, name, name || '@' || (ARRAY['example.org', 'example.com', 'mail.example.net'])[1 + n % 3],
       '+2547' || lpad((n * 7919::bigint % 100000000)::text, 8, '0'), joined, CASE WHEN n % 10 > 2 THEN joined END, joined,
       CASE WHEN n % 1000 = 0 THEN 'admin' WHEN n % 100 < 10 THEN 'trainer' WHEN n % 100 < 40 THEN 'trainee' ELSE 'member' END,
       'B' || n, first, last, CASE WHEN n % 20 > 0 THEN 'active' ELSE 'suspended' END::user_status, joined, joined,
       CASE WHEN n % 5 < 4 THEN joined + n % 97 * interval '1 day' END
FROM generate_series(1, :people) AS n
CROSS JOIN LATERAL (SELECT hashint4(n) & 1048575 AS one, hashint4(n + 1048576) & 1048575 AS other) AS dice
CROSS JOIN LATERAL (
    SELECT CASE WHEN one % 20 = 0 THEN 'Wanjiru' ELSE (ARRAY['Akinyi', 'Achieng', 'Njeri', 'Wambui', 'Chebet', 'Makena',
               'Halima', 'Otieno', 'Kamau', 'Kiprop', 'Mwangi', 'Juma', 'Baraka', 'Omondi', 'Kiptoo', 'Neema', 'Asha',
               'Zawadi', 'Rehema', 'Fatuma', 'Upendo', 'Hamisi', 'Bakari', 'Musa', 'Ngozi', 'Chioma', 'Emeka', 'Tunde',
               'Priya', 'Ananya', 'Arjun', 'Rohan', 'Grace', 'Olivia', 'Harry', 'Käthe', 'Jürgen', 'Zoé', 'François',
               'João'])[1 + one % 40] END AS first,
           (ARRAY['Odhiambo', 'Kariuki', 'Njoroge', 'Cheruiyot', 'Mutua', 'Wekesa', 'Ouma', 'Kimani', 'Rotich', 'Maina',
                  'Barasa', 'Mushi', 'Massawe', 'Shayo', 'Okafor', 'Adeyemi', 'Balogun', 'Sharma', 'Patel', 'Reddy',
                  'Smith', 'Jones', 'O''Brien', 'Wright', 'Müller', 'Schäfer', 'Moreau', 'Dubois', 'Araújo', 'Lima'])
               [1 + other % 30] AS last,
           timestamptz '2024-01-01' + n * interval '50 seconds' AS joined) AS person
CROSS JOIN LATERAL (SELECT replace(fold_text(first || '.' || last), '''', '') || '.' || n AS name) AS named;
INSERT INTO common_words SELECT word, count(*) FROM user_words WHERE (word > '!' AND word < '^') OR word >= '_'
    GROUP BY word HAVING count(*) >= greatest(200, :people / 2000);
UPDATE user_words SET common = true WHERE NOT common AND word IN (SELECT word FROM common_words);
VACUUM ANALYZE users, user_words, common_words;
