#!/usr/bin/env bash
# verify.sh SECONDS: right codes handed in a second at 32 connections, by wrk, against a release build.
# Wants DATABASE_URL (empty, migrated), REDIS_URL, KERYU_ENV=development, KERYU_SECRET_KEY (one key), psql
# and python3, which derives the codes anew from the key, as the documentation says.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PORT=${PORT:-18080} KERYU_TRUSTED_PROXIES=127.0.0.1 KERYU_LOG=${KERYU_LOG:-info} THREADS=2
COUNT=${COUNT:-$((${1} * 15000))}
folder=$(mktemp -d)
export CODES=$folder/codes
python3 - "$COUNT" "$CODES" "$folder/rows" <<'PY'
import hashlib, hmac, os, struct, sys
count, codes, rows = int(sys.argv[1]), sys.argv[2], sys.argv[3]
key_id, secret = os.environ["KERYU_SECRET_KEY"].split(":")
prk = hmac.new(b"keryu", bytes.fromhex(secret), hashlib.sha256).digest()
key = hmac.new(prk, b"otp\x01", hashlib.sha256).digest()
with open(codes, "w") as out, open(rows, "w") as table:
    for n in range(count):
        identifier, nonce = f"user{n}@example.org", os.urandom(16)
        parts = [nonce, b"register", identifier.encode()]
        mac = hmac.new(key, b"".join(struct.pack(">Q", len(p)) + p for p in parts), hashlib.sha256).digest()
        at = mac[31] & 15
        code = (struct.unpack(">I", mac[at:at + 4])[0] & 0x7FFFFFFF) % 10**6
        challenge = f"{n:032x}"
        out.write(f"{identifier} {challenge[:8]}-{challenge[8:12]}-{challenge[12:16]}-{challenge[16:20]}-{challenge[20:]} {code:06d}\n")
        table.write(f"{challenge}\tregister\temail\t{identifier}\t{key_id}\t\\\\x{nonce.hex()}\t6\tbench\n")
PY
psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 "$DATABASE_URL" <<SQL
CREATE TEMP TABLE t (id uuid, purpose text, channel text, identifier text, key_id text, nonce bytea, digits smallint, client text);
\copy t FROM '$folder/rows'
INSERT INTO challenges (challenge_id, purpose, channel, identifier, key_id, nonce, digits, client, created_at, expires_at)
SELECT id, purpose, channel, identifier, key_id, nonce, digits, client, now(), now() + interval '1 hour' FROM t;
ANALYZE challenges;
SQL
target/release/keryu-api serve >/dev/null 2>"$folder/api" &
trap 'kill $(jobs -p); wait || true' EXIT
until curl -sf "localhost:$PORT/readyz" >/dev/null; do sleep 0.05; done
wrk -t "$THREADS" -c 32 -d "$1s" --latency -s docs/bench/verify.lua "http://127.0.0.1:$PORT"
