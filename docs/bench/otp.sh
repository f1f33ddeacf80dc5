#!/usr/bin/env bash
# otp.sh SECONDS [with-worker]: requests for codes a second at 32 connections, by wrk, against a release build.
# Wants DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development, KERYU_SECRET_KEY.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_TRUSTED_PROXIES=127.0.0.1 KERYU_LOG=${KERYU_LOG:-info}
log=$(mktemp -d)
target/release/keryu-api serve >/dev/null 2>"$log/api" &
api=$!
trap 'kill $(jobs -p); wait || true' EXIT
if [ -n "${2:-}" ]; then
    target/release/keryu-worker run --queues critical >/dev/null 2>"$log/worker" &
fi
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
grep VmRSS "/proc/$api/status"
wrk -t 2 -c 32 -d "$1s" --latency -s docs/bench/otp.lua "http://127.0.0.1:$PORT"
grep VmHWM "/proc/$api/status"
