#!/usr/bin/env bash
# From nothing to a delivered event: installs what is missing, builds, starts Millrace in one process with a
# webhook and a PostgreSQL of its own beside it, sends real events, and shows where they went.
#   ./deploy/quickstart.sh           leaves it running; the last lines say how to look around and how to stop it
#   ./deploy/quickstart.sh --check   the same, then stops everything; exit code 0 when all arrived
#   ./deploy/quickstart.sh --stop    stops what an earlier call left running
# Everything is kept in ./millrace-data (or $MILLRACE_DATA).
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-run}
data=${MILLRACE_DATA:-$PWD/millrace-data}
port=${MILLRACE_PORT:-8080}
postgres=$data/postgres
millrace=build/release/services/millrace/millrace

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

stop_all() {
  local name
  for name in millrace webhook; do
    if [ -f "$data/$name.pid" ]; then
      kill "$(cat "$data/$name.pid")" 2>/dev/null || true
      tail --pid="$(cat "$data/$name.pid")" -f /dev/null 2>/dev/null || true
      rm -f "$data/$name.pid"
    fi
  done
  if [ -d "$postgres" ]; then tests/support/postgres.sh stop "$postgres" >/dev/null 2>&1 || true; fi
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_until SECONDS WHAT COMMAND...: until the command succeeds.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "$what did not happen in time; see $data/millrace.log" >&2
      exit 1
    fi
    sleep 0.2
  done
}

case "$mode" in
  run) ;;
  --check) trap stop_all EXIT ;;
  --stop)
    stop_all
    echo "stopped"
    exit 0
    ;;
  *)
    echo "usage: $0 [--check | --stop]" >&2
    exit 2
    ;;
esac

say "1. Installing what is missing"
./deploy/install-deps.sh

say "2. Building (the first time takes some minutes)"
cmake --preset release >/dev/null
cmake --build build/release --target millrace

say "3. Starting PostgreSQL, a webhook to deliver to, and Millrace"
mkdir -p "$data"
stop_all
if [ ! -f "$data/postgres.port" ]; then free_port >"$data/postgres.port"; fi
postgres_port=$(cat "$data/postgres.port")
conninfo=$(tests/support/postgres.sh start "$postgres" "$postgres_port")
sql() { psql "$conninfo" -X "$@"; }
webhook_port=$(free_port)
: >"$data/webhook.ndjson"
python3 deploy/webhook_printer.py "$webhook_port" "$data/webhook.ndjson" >/dev/null 2>&1 &
echo $! >"$data/webhook.pid"
# The outbound guard refuses private addresses; here the tools to deliver to are on this machine.
"$millrace" up --data-dir "$data/millrace" --listen "127.0.0.1:$port" \
  --set 'outbound.allowed_networks=[127.0.0.0/8]' \
  >"$data/millrace.log" 2>&1 &
echo $! >"$data/millrace.pid"
wait_until 30 "Millrace's start" curl -fsS "http://127.0.0.1:$port/health/ready"
export MILLRACE_URL=http://127.0.0.1:$port
MILLRACE_TOKEN=$(cat "$data/millrace/api-token")
export MILLRACE_TOKEN

cat >"$data/workspace.yaml" <<YAML
sources:
  - {name: website, type: HTTP, writeKey: quickstart-key}
destinations:
  - name: my webhook
    type: WEBHOOK
    config: {webhookUrl: "http://127.0.0.1:$webhook_port/events", webhookMethod: POST}
  - name: my warehouse
    type: POSTGRES
    config: {host: 127.0.0.1, port: "$postgres_port", database: postgres, user: millrace, password: none,
             sslMode: disable, namespace: website, syncIntervalSeconds: 1}
connections:
  - {source: website, destination: my webhook}
  - {source: website, destination: my warehouse}
YAML
"$millrace" apply -f "$data/workspace.yaml" --url "$MILLRACE_URL"

say "4. Sending events, as an SDK would"
rows_before=$(sql -Atc "select count(*) from website.tracks" 2>/dev/null || echo 0)
event=$(printf '{"userId":"ada","event":"Order Completed","properties":{"revenue":%d.5,"currency":"EUR"}}' $((RANDOM % 100)))
echo "curl -u quickstart-key: http://127.0.0.1:$port/v1/track -d '$event'"
curl -fsS -u quickstart-key: "http://127.0.0.1:$port/v1/track" -d "$event"
echo
"$millrace" send --url "$MILLRACE_URL" --write-key quickstart-key --count 9 --event "Page Viewed"

rows() { sql -Atc "select count(*) from website.tracks" 2>/dev/null || echo 0; }
has_ten() { [ "$(wc -l <"$data/webhook.ndjson")" -ge 10 ] && [ "$(rows)" -ge $((rows_before + 10)) ]; }
wait_until 30 "The delivery of all events" has_ten

say "5. Delivered to the webhook (the last two of $(wc -l <"$data/webhook.ndjson"))"
tail -n 2 "$data/webhook.ndjson" | cut -c1-240
say "6. Loaded into the warehouse"
sql -c "select event, user_id, received_at from website.tracks order by received_at desc limit 3"
sql -c "select id, revenue, currency from website.order_completed order by received_at desc limit 3"
say "7. Every event accounted for"
balanced() { "$millrace" audit --url "$MILLRACE_URL" --json | grep -q '"pending": *0'; }
wait_until 30 "The audit's balance" balanced
"$millrace" audit --url "$MILLRACE_URL"

if [ "$mode" = run ]; then
  say "Millrace is running. Look around:"
  cat <<TEXT
  send events      any RudderStack or Segment SDK with the address http://127.0.0.1:$port and the write key quickstart-key
  watch them       $millrace tail
  change things    edit $data/workspace.yaml, then: $millrace apply -f $data/workspace.yaml
  the warehouse    psql "$conninfo"
  the API          http://127.0.0.1:$port/api/v1/openapi.json (token: $data/millrace/api-token)
  stop it          ./deploy/quickstart.sh --stop
For the commands above: export MILLRACE_URL=$MILLRACE_URL MILLRACE_TOKEN=\$(cat $data/millrace/api-token)
TEXT
fi
