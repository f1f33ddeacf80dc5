#!/usr/bin/env bash
# usage.sh SECONDS [CONNECTIONS]: usage events a second in batches of 10,000 of 10,000 people, by a service at 4
# connections, by wrk, against a release build; the batches are made before. Afterwards the figures are compared
# with a recount. Wants DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development, KERYU_SECRET_KEY, psql,
# jq and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_PUBLIC_URL=http://127.0.0.1:18080 KERYU_LOG=${KERYU_LOG:-info}
export RATE_LIMIT_ALLOW=127.0.0.1
api=${API:-target/release/keryu-api}
folder=$(mktemp -d)
"$api" seed --users 10000 >/dev/null 2>&1
export API_KEY BATCHES=$folder
API_KEY=$("$api" keys create --name bench --scope usage:write --json | jq -r .key)
# more than a run can use: 150,000 events a second
export COUNT=$((${1} * 15 + 20))
psql --quiet --no-psqlrc -At -c "SELECT user_id FROM users" "$DATABASE_URL" >"$folder/people"
python3 - "$folder" "$COUNT" <<'PY'
import datetime, json, random, sys
folder, count = sys.argv[1], int(sys.argv[2])
people = open(f"{folder}/people").read().split()
random.seed(1)
now = datetime.datetime.now(datetime.timezone.utc)
for n in range(count):
    events = []
    for m in range(10_000):
        at = now - datetime.timedelta(seconds=random.randrange(30 * 86_400))
        event = {"event_id": f"bench-{n:06}-{m:05}", "user_id": random.choice(people),
                 "at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        kind = random.random()
        if kind < 0.4:
            event |= {"kind": "rental_started", "station_id": f"station-{random.randrange(500)}"}
        elif kind < 0.7:
            event |= {"kind": "rental_returned", "returned": random.choice(["timely", "late"])}
        elif kind < 0.95:
            event |= {"kind": "payment", "amount": f"{random.randrange(1, 2000) / 100:.2f}"}
        else:
            event |= {"kind": "station_favourited", "station_id": f"station-{random.randrange(500)}"}
        events.append(event)
    with open(f"{folder}/{n}", "w") as out:
        json.dump({"events": events}, out, separators=(",", ":"))
PY
"$api" serve >/dev/null 2>"$folder/api" &
server=$!
trap 'kill $(jobs -p); wait || true; rm -rf "$folder"' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
wrk -t 1 -c "${2:-4}" -d "$1s" --timeout 20s --latency -s docs/bench/usage.lua "http://127.0.0.1:$PORT"
grep VmHWM "/proc/$server/status"
psql --quiet --no-psqlrc -At "$DATABASE_URL" <<'SQL'
SELECT 'events ' || count(*) FROM usage_events;
SELECT 'people whose figures are not a recount: ' || count(*) FROM usage_summaries s
JOIN (SELECT user_id, count(*) FILTER (WHERE kind = 'rental_started') AS rentals, coalesce(sum(amount), 0) AS spent,
             count(*) FILTER (WHERE late) AS late FROM usage_events GROUP BY user_id) e USING (user_id)
WHERE (s.rentals, s.spent, s.late) IS DISTINCT FROM (e.rentals, e.spent, e.late);
SQL
