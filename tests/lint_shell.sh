#!/usr/bin/env bash
# Runs shellcheck over every shell script of the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
{ git ls-files '*.sh'; echo .ci/run; } | xargs shellcheck
