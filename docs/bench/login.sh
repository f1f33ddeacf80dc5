#!/usr/bin/env bash
# login.sh SECONDS: sign-ins by password a second at 32 connections, by wrk, in turns with bare Argon2id of the
# same crate and parameters on both cores; then GET /me while such sign-ins saturate the threads that hash.
# Wants DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development, KERYU_SECRET_KEY, psql.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_TRUSTED_PROXIES=127.0.0.1 KERYU_LOG=${KERYU_LOG:-info} ACCOUNTS=10000
api=${API:-target/release/keryu-api}
# of "correct horse battery staple", at the default cost
hash='$argon2id$v=19$m=19456,t=2,p=1$vqeEV//guZkQYC2cMh8MEA$88mBUNLHZNDVtGjKZFqiBWBitzujohqwYVvEQRClT78'
psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -v hash="$hash" "$DATABASE_URL" <<SQL
INSERT INTO users (user_id, username, username_skeleton, email, email_verified_at, created_at, updated_at)
SELECT gen_random_uuid(), 'user' || n, 'user' || n, 'user' || n || '@example.org', now(), now(), now()
FROM generate_series(0, $ACCOUNTS - 1) n;
INSERT INTO passwords (user_id, hash, changed_at) SELECT user_id, :'hash', now() FROM users;
ANALYZE users; ANALYZE passwords;
SQL
log=$(mktemp -d)
"$api" serve >/dev/null 2>"$log/api" &
trap 'kill $(jobs -p); wait || true' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
wrk -t 2 -c 32 -d 2s -s docs/bench/login.lua "http://127.0.0.1:$PORT" >/dev/null
echo '--- POST /api/auth/login and bare hashes in turns: a second, and the median of their ratios'
for _ in 1 2 3 4 5; do
    bare=$("$api" bench-hash --seconds "$(($1 / 3))" | sed 's/.*"bare_per_s":\([0-9.]*\).*/\1/')
    wrk -t 2 -c 32 -d "$(($1 / 3))s" -s docs/bench/login.lua "http://127.0.0.1:$PORT" >"$log/login"
    # a turn with refusals is none: a refusal costs no hash
    if grep Non-2xx "$log/login"; then continue; fi
    echo "$(awk '/Requests.sec/ {print $2}' "$log/login") $bare"
done | tee "$log/turns"
awk 'NF == 2 {print $1 / $2}' "$log/turns" | sort -n | awk '{all[NR] = $1} END {print NR " turns, " all[int((NR + 1) / 2)]}'
token=$(curl -sf "localhost:$PORT/api/auth/login" -H 'content-type: application/json' \
    -d '{"identifier":"user0@example.org","password":"correct horse battery staple"}' \
    | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
echo '--- GET /api/auth/me, one after the other, while sign-ins saturate the threads that hash'
wrk -t 2 -c 32 -d "$1s" -s docs/bench/login.lua "http://127.0.0.1:$PORT" >"$log/busy" &
sleep 1
wrk -t 1 -c 1 -d "$(($1 - 1))s" --latency -H "authorization: Bearer $token" "http://127.0.0.1:$PORT/api/auth/me"
wait %2
grep -E 'Requests/sec|Non-2xx' "$log/busy"
