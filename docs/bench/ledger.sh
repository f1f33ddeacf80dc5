#!/usr/bin/env bash
# ledger.sh [ROWS]: what the figures of the ledger cost a scrape, read off a running API. Inserts ROWS jobs
# (a million): 60 % ready, 30 % scheduled, 10 % dead letters, ten of them critical.
# Wants DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development; BIN is the API (a release build).
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080}
psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 -v rows="${1:-1000000}" "$DATABASE_URL" <<'SQL'
INSERT INTO jobs (job_id, kind, version, queue, priority, state, ready, pushed, max_attempts, payload, run_at,
                  created_at, discarded_at)
SELECT (lpad(to_hex(1760000000000 + n), 12, '0') || '70008000' || substr(md5(n::text), 1, 12))::uuid,
       'bench.row', 1, queue, 5, state::job_state, state = 'available', state = 'available' AND n <= 2000, 20,
       '{"delivery_id":"6f1c2c1e-6f6d-4f0b-9d53-1c9ad01c7a11"}',
       CASE state WHEN 'discarded' THEN 'infinity'::timestamptz WHEN 'available' THEN now()
            ELSE now() + n * interval '1 second' END,
       now(), CASE state WHEN 'discarded' THEN now() END
FROM generate_series(1, :rows) n
CROSS JOIN LATERAL (
    SELECT CASE WHEN n % (:rows / 10) = 0 THEN 'critical' WHEN n % 3 = 0 THEN 'bulk' ELSE 'default' END AS queue,
           CASE WHEN n % 10 < 6 THEN 'available' WHEN n % 10 < 9 THEN 'scheduled' ELSE 'discarded' END AS state) x;
SQL
"${BIN:-target/release/keryu-api}" serve >/dev/null 2>&1 &
trap 'kill $!' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
scrape() { curl -s "localhost:$PORT/metrics" | grep -E "$1"; }
for _ in 1 2 3; do scrape '^keryu_ledger_read_seconds' && sleep 5.1; done
psql --quiet --no-psqlrc -c 'VACUUM ANALYZE jobs' "$DATABASE_URL"
for _ in 1 2 3; do scrape '^keryu_ledger_read_seconds' && sleep 5.1; done
scrape '^keryu_jobs\{.*(available|scheduled|discarded)"\} [^0]'
