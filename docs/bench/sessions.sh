#!/usr/bin/env bash
# sessions.sh me|refresh SECONDS: calls a second at 32 connections over 10,000 sessions at random, by wrk,
# against a release build. Wants DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development and
# KERYU_SECRET_KEY.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_PUBLIC_URL=http://127.0.0.1:18080 KERYU_LOG=${KERYU_LOG:-info}
export TOKEN_LIFE=1h RATE_LIMIT_ALLOW=127.0.0.1 THREADS=2
api=${API:-target/release/keryu-api}
folder=$(mktemp -d)
export TOKENS=$folder/tokens
"$api" seed --users 10000 --sessions 10000 --tokens-to "$TOKENS" >/dev/null 2>&1
"$api" serve >/dev/null 2>"$folder/api" &
trap 'kill $(jobs -p)' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
wrk -t "$THREADS" -c 32 -d 3s -s "docs/bench/$1.lua" "http://127.0.0.1:$PORT" >/dev/null
if [ "$1" = refresh ]; then # the warm-up used the tokens up
    rm "$TOKENS" && "$api" seed --users 10000 --seed 2 --sessions 10000 --tokens-to "$TOKENS" >/dev/null 2>&1
fi
wrk -t "$THREADS" -c 32 -d "$2s" --latency -s "docs/bench/$1.lua" "http://127.0.0.1:$PORT"
grep VmHWM "/proc/$(jobs -p)/status"
