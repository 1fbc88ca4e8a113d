#!/usr/bin/env bash
# Prints how long events of a well-behaved module take beside one whose scripts are hostile: median and p99 of both.
# usage: hostile_neighbour.sh [BUILD_DIR]   (a release build)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec nice -n 5 "${1:-build/release}/libs/script/script_bench" --neighbour
