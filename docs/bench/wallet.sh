#!/usr/bin/env bash
# wallet.sh SECONDS: postings a second by a service at 16 connections, by wrk, against a release build: first to
# 10,000 wallets at random, then all to one. Afterwards every balance is compared with its entries. Wants
# DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development, KERYU_SECRET_KEY, psql and jq.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_PUBLIC_URL=http://127.0.0.1:18080 KERYU_LOG=${KERYU_LOG:-info}
export RATE_LIMIT_ALLOW=127.0.0.1
api=${API:-target/release/keryu-api}
folder=$(mktemp -d)
"$api" seed --users 10000 >/dev/null 2>&1
export API_KEY PEOPLE=$folder/people RUN
API_KEY=$("$api" keys create --name bench --scope wallet:write --json | jq -r .key)
"$api" serve >/dev/null 2>"$folder/api" &
server=$!
trap 'kill $(jobs -p); wait || true' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done

for people in 10000 1; do
    psql --quiet --no-psqlrc -At -c "SELECT user_id FROM users ORDER BY user_id LIMIT $people" "$DATABASE_URL" >"$PEOPLE"
    echo "--- $people wallets"
    RUN=$people-warm wrk -t 2 -c 16 -d 3s -s docs/bench/wallet.lua "http://127.0.0.1:$PORT" >/dev/null
    RUN=$people wrk -t 2 -c 16 -d "$1s" --latency -s docs/bench/wallet.lua "http://127.0.0.1:$PORT" |
        grep -E 'Requests/sec|  50%|  99%|Non-2xx|^[0-9]{3}'
done
grep VmHWM "/proc/$server/status"
psql --quiet --no-psqlrc -At "$DATABASE_URL" <<'SQL'
SELECT 'postings ' || count(*) FROM postings;
SELECT 'balances that are not the sum of their entries: ' || count(*)
FROM ledger_accounts a WHERE user_id IS NOT NULL
 AND balance <> (SELECT sum(amount) FROM entries e WHERE e.ledger_account_id = a.ledger_account_id);
SELECT 'sum of all entries: ' || sum(amount) FROM entries;
SQL
