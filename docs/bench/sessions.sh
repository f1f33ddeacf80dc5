#!/usr/bin/env bash
# sessions.sh me|profile|refresh SECONDS: calls a second at 32 connections over 10,000 sessions at random, by wrk,
# against a release build. For `me`, a bare skeleton of the same call runs before and after
# (`cargo build --release -p keryu-tests --example skeleton`). Wants DATABASE_URL (empty, migrated), REDIS_URL,
# KERYU_ENV=development and KERYU_SECRET_KEY.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_PUBLIC_URL=http://127.0.0.1:18080 KERYU_LOG=${KERYU_LOG:-info}
export TOKEN_LIFE=1h RATE_LIMIT_ALLOW=127.0.0.1 THREADS=2
api=${API:-target/release/keryu-api} skeleton=${SKELETON:-target/release/examples/skeleton}
folder=$(mktemp -d)
script=$1
if [ "$1" = profile ]; then script=me; export READ=/api/users/profile; fi
export TOKENS=$folder/tokens
"$api" seed --users 10000 --sessions 10000 --tokens-to "$TOKENS" >/dev/null 2>&1

load() { wrk -t "$THREADS" -c 32 -d "$1s" "${@:3}" -s "docs/bench/$2.lua" "http://127.0.0.1:$PORT"; }

bare() {
    PORT=18081 "$skeleton" >/dev/null 2>"$folder/skeleton" &
    local server=$!
    until curl -s localhost:18081 >/dev/null; do sleep 0.05; done
    PORT=18081 load 3 me >/dev/null
    echo '--- the skeleton'
    PORT=18081 load "$1" me --latency | grep -E 'Requests/sec|  50%|  99%|Non-2xx'
    kill $server
}

if [ "$1" = me ] && [ -x "$skeleton" ]; then bare "$2"; fi
"$api" serve >/dev/null 2>"$folder/api" &
server=$!
trap 'kill $(jobs -p); wait || true' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
load 3 "$script" >/dev/null
if [ "$1" = refresh ]; then # the warm-up used the tokens up
    rm "$TOKENS" && "$api" seed --users 10000 --seed 2 --sessions 10000 --tokens-to "$TOKENS" >/dev/null 2>&1
fi
load "$2" "$script" --latency
grep VmHWM "/proc/$server/status"
if [ "$1" = me ] && [ -x "$skeleton" ]; then bare "$2"; fi
