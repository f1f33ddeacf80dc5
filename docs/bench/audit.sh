#!/usr/bin/env bash
# audit.sh [LINES]: what a search of the audit log costs, and what an export of all of it costs the API's memory.
# Inserts LINES lines (a million) over eleven months. Wants DATABASE_URL (empty, migrated), REDIS_URL,
# KERYU_ENV=development and KERYU_SECRET_KEY; API is the API (a release build).
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_PUBLIC_URL=http://127.0.0.1:18080 KERYU_LOG=${KERYU_LOG:-warn}
export TOKEN_LIFE=1h RATE_LIMIT_ALLOW=127.0.0.1
api=${API:-target/release/keryu-api} base=http://127.0.0.1:$PORT/api/admin/audit
folder=$(mktemp -d)
"$api" seed --users 10 --sessions 1 --tokens-to "$folder/tokens" >/dev/null 2>&1
psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -v rows="${1:-1000000}" "$DATABASE_URL" >/dev/null <<'SQL'
UPDATE users SET is_superuser = true;
SELECT ensure_partitions('audit', 'month', 12, now() - interval '11 months', 100);
INSERT INTO audit (audit_id, at, action, entity_type, entity_id, actor, session_id, details, old_values, new_values,
                   ip_address, user_agent, request_id)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 19))::uuid,
       at, action, CASE split_part(action, '.', 1) WHEN 'role' THEN 'role' WHEN 'otp' THEN 'identifier' ELSE 'user' END,
       person::text, CASE WHEN action = 'user.read' THEN md5('staff' || n % 5)::uuid ELSE person END,
       md5('s' || n % 100000)::uuid, '{}', '{"first_name": null}', '{"first_name": "Ada"}',
       '10.' || n % 3 || '.' || n % 251 || '.' || n % 13,
       'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36', md5('r' || n / 2)::uuid::text
FROM generate_series(1, :rows) n
CROSS JOIN LATERAL (
    SELECT now() - interval '330 days' * n / :rows AS at, md5((n::bigint * 7919 % 50000)::text)::uuid AS person,
           CASE WHEN n % 200000 = 0 THEN 'role.changed' WHEN n % 10 < 4 THEN 'user.read'
                WHEN n % 10 < 7 THEN 'auth.signed_in' WHEN n % 10 = 7 THEN 'otp.requested'
                ELSE (ARRAY['user.changed', 'user.status_changed', 'session.ended', 'kyc.read', 'wallet.posted',
                            'profile.changed', 'user.listed', 'factor.added', 'device.registered', 'kyc.approved'])
                     [1 + (n / 10) % 10] END AS action) x;
VACUUM ANALYZE audit;
SQL
"$api" serve >/dev/null 2>"$folder/api" &
server=$!
trap 'kill $server; wait || true' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
bearer="authorization: Bearer $(head -1 "$folder/tokens" | cut -f2)"
one=$(psql -XAtc "SELECT md5('777')::uuid" "$DATABASE_URL") staff=$(psql -XAtc "SELECT md5('staff3')::uuid" "$DATABASE_URL")
echo '--- searches, ms (the third of three)'
for query in '' "actor=$staff" "actor=$staff&action=role.changed" "entity_type=user&entity_id=$one" "entity_id=$one" \
    'action=role.changed' 'action=user.*' 'entity_type=role' 'ip_address=10.1.100.2' \
    "ip_address=10.1.100.2&actor=$one" "until=$(date -u -d '200 days ago' +%FT%TZ)"; do
    for _ in 1 2 3; do
        took=$(curl -s -o "$folder/page" -w '%{time_total}' -H "$bearer" "$base?$query")
    done
    awk -v t="$took" -v q="$query" -v n="$(grep -o '"entity_id"' "$folder/page" | wc -l)" \
        'BEGIN { printf "%8.1f  %3d lines  %s\n", t * 1000, n, q }'
done
echo '--- exports of all'
for format in csv jsonl; do
    curl -s -o "$folder/file" -w "$format: %{size_download} bytes in %{time_total} s, " -H "$bearer" "$base/export?format=$format"
    echo "$(wc -l <"$folder/file") lines, $(grep VmHWM "/proc/$server/status" | tr -s '\t ' ' ')"
    rm "$folder/file"
done
