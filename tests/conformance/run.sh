#!/usr/bin/env bash
# Runs recorded cases of a peer against Millrace; the last line is 'N passed, N failed'. See README.md.
#   --cases DIR   folder of the cases (or of a folder `open` that holds them)
#   --kind KIND   only this kind; there are: transformations
#   --json        one JSON object per case
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  echo "usage: $0 --cases DIR [--kind KIND] [--json]" >&2
  exit 2
}

cases=
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --cases)
      [ $# -ge 2 ] || usage
      cases=$2
      shift 2
      ;;
    --kind)
      [ $# -ge 2 ] || usage
      arguments+=(--kind "$2")
      shift 2
      ;;
    --json)
      arguments+=(--json)
      shift
      ;;
    *) usage ;;
  esac
done
[ -n "$cases" ] || usage
[ -d "$cases" ] || {
  echo "$0: there is no folder '$cases'" >&2
  exit 2
}
cases=$(cd "$cases" && pwd)

cd "$here/../.."
preset=${MILLRACE_PRESET:-release}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset "$preset" && cmake --build "build/$preset" --target conformance; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "0 passed, 1 failed"
  exit 1
fi
"build/$preset/tests/conformance/conformance" --cases "$cases" --exceptions "$here" "${arguments[@]}"
