#!/usr/bin/env bash
# Measures Millrace: builds the release preset, runs the cases named (all by default), prints one line each.
#   ./tests/load/run.sh [--json] [CASE...]      cases: see tests/load/cases.py
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
cmake --build build/release >/dev/null
exec python3 tests/load/cases.py --build build/release "$@"
