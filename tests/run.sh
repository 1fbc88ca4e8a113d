#!/usr/bin/env bash
# All that CI runs: installs what is missing, builds, checks style, runs the unit tests, then the tests that
# need real servers, which it starts and stops itself. The last line is 'N passed, N failed'.
#   --fast   unit tests and goldens only
#   --long   also what takes longer (fault cases at full length, 30 simulated days, a soak): about 2 hours; what
#            each printed is written to tests/results/
# With MILLRACE_PRESET=asan or tsan in the environment it builds and tests with sanitizers.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

fast=0
long=0
case "${1:-}" in
  "") ;;
  --fast) fast=1 ;;
  --long) long=1 ;;
  *)
    echo "usage: $0 [--fast | --long]" >&2
    exit 2
    ;;
esac

preset=${MILLRACE_PRESET:-release}
build=build/$preset
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$PWD/tests/support/tsan.supp}
work=$(mktemp -d /tmp/millrace-tests.XXXXXX)
chmod 755 "$work" # PostgreSQL runs as a user of its own
passed=0
failed=0
part=
part_started=0

# shellcheck disable=SC2317  # called by the trap
stop_servers() {
  for server in kafka postgres; do
    if [ -x "tests/support/$server.sh" ] && [ -d "$work/$server" ]; then
      "tests/support/$server.sh" stop "$work/$server" >/dev/null 2>&1
    fi
  done
  rm -rf "$work"
}
trap stop_servers EXIT

child=
# Ends the step that runs, and all: without this the next step would follow.
# shellcheck disable=SC2317  # called by the trap
interrupted() {
  trap '' INT TERM
  if [ -n "$child" ] && kill "$child" 2>/dev/null; then wait "$child"; fi
  echo "interrupted" >&2
  exit 130
}
trap interrupted INT TERM

# begin PART: from here on PART runs; says how long the one before took.
begin() {
  [ -z "$part" ] || echo "== $part: $((SECONDS - part_started)) s"
  part=$1
  part_started=$SECONDS
}

# check NAME COMMAND...: runs one step and counts it. Exit code 77 says that it cannot run here; its last line says why.
check() {
  local name=$1 started=$SECONDS
  shift
  local code=0
  "$@" >"$work/step.log" 2>&1 &
  child=$!
  wait "$child" || code=$?
  child=
  if [ "$code" = 0 ]; then
    passed=$((passed + 1))
    echo "ok   $name ($((SECONDS - started)) s)"
    return 0
  elif [ "$code" = 77 ]; then
    echo "skip $name: $(tail -n 1 "$work/step.log")"
    return 0
  else
    failed=$((failed + 1))
    echo "FAIL $name ($((SECONDS - started)) s): $*"
    tail -n 60 "$work/step.log"
    return 1
  fi
}

# ctests LABEL_ARGS...: runs ctest and counts each of its tests.
ctests() {
  local log=$work/ctest.log counts
  ctest --test-dir "$build" --output-on-failure "$@" 2>&1 | tee "$log" | grep -vE '^ +Start |^$'
  counts=$(grep -E '^[0-9]+% tests passed' "$log" | tail -1)
  local bad total
  bad=$(sed -E 's/.* ([0-9]+) tests? failed.*/\1/' <<<"$counts")
  total=$(sed -E 's/.* out of ([0-9]+).*/\1/' <<<"$counts")
  if [[ ! "$bad" =~ ^[0-9]+$ || ! "$total" =~ ^[0-9]+$ ]]; then
    bad=1
    total=1
  fi
  passed=$((passed + total - bad))
  failed=$((failed + bad))
}

finish() {
  begin ""
  echo "== all: $SECONDS s"
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
  exit
}

begin "installation"
./deploy/install-deps.sh --tests || {
  echo "install-deps.sh failed" >&2
  echo "0 passed, 1 failed"
  exit 1
}

begin "build"
if ! { cmake --preset "$preset" >"$work/configure.log" 2>&1 && cmake --build "$build" >"$work/build.log" 2>&1; }; then
  cat "$work/configure.log"
  grep -E 'error|FAILED' -A 5 "$work/build.log" | head -60
  failed=1
  finish
fi
begin "style"
check "shell scripts" tests/lint_shell.sh
check "formatting of C++" tests/lint_format.sh
check "ban list" tests/lint_bans.sh
check "dependencies point one way" python3 tests/lint_dependencies.py
check "clang-tidy of changed files" tests/lint_tidy.sh
check "buf lint of proto" tests/lint_proto.sh
check "docs/settings.md is fresh" python3 docs/generate_settings.py --check
begin "unit tests"
if database=$(tests/support/geolocation.sh); then
  export MILLRACE_TEST_GEOLOCATION=$database
else
  echo "skipped: the test with a real country database, which could not be fetched"
fi
ctests -LE integration
begin "transformations"
check "the examples of transformations" "$build/services/millrace/millrace" transform test docs/examples/transformations
check "conformance: our own cases" tests/conformance/run.sh --cases tests/conformance/cases
recorded=${MILLRACE_CONFORMANCE_CASES:-}
archive=../shared/conformance/open.tar.zst
if [ -z "$recorded" ] && [ -f "$archive" ]; then
  recorded=$work/conformance
  mkdir -p "$recorded"
  check "recorded cases are unpacked" tar --zstd -xf "$archive" -C "$recorded"
fi
if [ -n "$recorded" ]; then
  check "conformance: recorded cases" tests/conformance/run.sh --cases "$recorded"
else
  echo "skipped: recorded cases (MILLRACE_CONFORMANCE_CASES names no folder)"
fi

[ "$fast" = 1 ] && finish

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }

begin "servers"
if [ -x tests/support/postgres.sh ]; then
  port=$(free_port)
  if check "PostgreSQL starts" tests/support/postgres.sh start "$work/postgres" "$port"; then
    export MILLRACE_TEST_POSTGRES="host=127.0.0.1 port=$port user=millrace dbname=postgres"
  fi
fi
if [ -x tests/support/kafka.sh ]; then
  port=$(free_port)
  if check "Kafka starts" tests/support/kafka.sh start "$work/kafka" "$port"; then
    export MILLRACE_TEST_KAFKA="127.0.0.1:$port"
  fi
fi
begin "integration tests"
ctests -L integration
begin "scenarios"
for scenario in tests/end_to_end/scenario_*.py; do
  [ -e "$scenario" ] || continue
  if [ "$(basename "$scenario")" = scenario_overload.py ]; then
    echo "skip scenario_overload: it expects all events, but a share now gives the oldest up (docs/decisions/2026-11-24-next-steps.md)"
    continue
  fi
  check "$(basename "$scenario" .py)" python3 "$scenario" --build "$build" --work "$work/$(basename "$scenario" .py)"
done

# keep NAME: what the step just run printed becomes tests/results/NAME.txt.
keep() {
  mkdir -p tests/results
  {
    echo "$(date -u +%F) $(git rev-parse --short HEAD), $(nproc) cores, $(uname -sr)"
    cat "$work/step.log"
  } >"tests/results/$1.txt"
}

# Cases of faults that are open run with --long only: docs/decisions/2026-11-24-next-steps.md says which and why.
open_faults=" fault_stuck_users fault_full_disk fault_used_up_share fault_dead_destinations "
begin "faults"
for fault in tests/faults/fault_*.py; do
  name=$(basename "$fault" .py)
  if [ "$long" = 1 ]; then
    check "$name (long)" python3 "$fault" --build "$build" --work "$work/$name" --long
    keep "$name"
  elif [[ $open_faults == *" $name "* ]]; then
    echo "skip $name: the fault is open (docs/decisions/2026-11-24-next-steps.md)"
  else
    check "$name" python3 "$fault" --build "$build" --work "$work/$name"
  fi
done
if [ "$long" = 1 ]; then
  begin "endurance"
  for name in soak recovery-after-500s stuck-10000; do
    check "$name" python3 tests/load/cases.py --build "$build" "$name"
    keep "$name"
  done
fi
finish
