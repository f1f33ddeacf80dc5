#!/usr/bin/env bash
# staff.sh PEOPLE SECONDS: the staff's list at 16 connections by wrk, against a release build: page 1 and page 500,
# with and without searches. Of the terms, drawn from the data, a third are common: a given name that one in twenty
# has. Wants DATABASE_URL (migrated; filled here unless it holds people), REDIS_URL, KERYU_ENV=development and
# KERYU_SECRET_KEY.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_PUBLIC_URL=http://127.0.0.1:${PORT:-18080} KERYU_LOG=${KERYU_LOG:-info}
export TOKEN_LIFE=1h RATE_LIMIT_ALLOW=127.0.0.1
api=${API:-target/release/keryu-api}
folder=$(mktemp -d)
sql() { psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 "$DATABASE_URL" "$@"; }
"$api" seed --users 1 --sessions 1 --tokens-to "$folder/tokens" >/dev/null 2>&1
sql -c "UPDATE users SET role = 'admin' WHERE user_id = '$(cut -f1 "$folder/tokens")'"
TOKEN=$(cut -f2 "$folder/tokens")
export TOKEN
if [ "$(sql -c 'SELECT count(*) FROM (SELECT FROM users LIMIT 2) AS few')" -lt 2 ]; then
    time sql -v people="$1" -f docs/bench/staff.sql
fi
sql -o "$folder/terms" <<'SQL'
SELECT CASE WHEN n % 3 = 0 THEN 'wanjiru'
            WHEN n % 3 = 1 THEN (ARRAY[username, email, right(phone_number, 7), first_name || ' ' || last_name])[1 + n / 3 % 4]
            ELSE substr(email, (1 + n % 5)::int, 18) END
FROM (SELECT *, row_number() OVER () AS n FROM users TABLESAMPLE SYSTEM (5)
      WHERE status = 'active' AND first_name || last_name || email || phone_number IS NOT NULL LIMIT 3000) AS drawn
SQL
"$api" serve >/dev/null 2>"$folder/api" &
server=$!
trap 'kill $server; wait || true' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
load() { wrk -t 2 -c 16 -d "$1s" --latency -s docs/bench/staff.lua "http://127.0.0.1:$PORT"; }
for page in 1 500; do
    for terms in "" "$folder/terms"; do
        export PAGE=$page TERMS=$terms
        load 3 >/dev/null
        echo "--- page $page${terms:+, searched}"
        load "$2" | grep -E 'Requests/sec|  50%|  99%|Non-2xx|^[0-9]' || true
    done
done
grep VmHWM "/proc/$server/status"
